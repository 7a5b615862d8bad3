from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    """Figures about the hub's use, for anybody."""

    name = "analytics"
