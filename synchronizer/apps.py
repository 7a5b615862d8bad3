from django.apps import AppConfig


class SynchronizerConfig(AppConfig):
    """Websocket streams and the relay that feeds them."""

    name = "synchronizer"
