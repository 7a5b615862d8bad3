from django.apps import AppConfig


class TosConfig(AppConfig):
    """Terms of service and their signatures."""

    name = "tos"
    verbose_name = "Terms of service"
