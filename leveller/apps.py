from django.apps import AppConfig


class LevellerConfig(AppConfig):
    """The operator's service level agreement."""

    name = "leveller"
