from django.apps import AppConfig


class ContractorConfig(AppConfig):
    """Everything that touches the chain."""

    name = "contractor"
