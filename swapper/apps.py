from django.apps import AppConfig


class SwapperConfig(AppConfig):
    """Orders and the pairs of tokens that they trade."""

    name = "swapper"
