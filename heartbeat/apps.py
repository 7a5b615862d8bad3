from django.apps import AppConfig


class HeartbeatConfig(AppConfig):
    """The periodic tasks, a few lines each."""

    name = "heartbeat"
