from django.apps import AppConfig


class TransactorConfig(AppConfig):
    """Transfers and delegated withdrawals."""

    name = "transactor"
