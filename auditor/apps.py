from django.apps import AppConfig


class AuditorConfig(AppConfig):
    """What wallets read: serializers and audit endpoints."""

    name = "auditor"
