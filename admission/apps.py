from django.apps import AppConfig


class AdmissionConfig(AppConfig):
    """Registration of wallets."""

    name = "admission"
