from django.apps import AppConfig


class LedgerConfig(AppConfig):
    """The off-chain ledger: models, engine, store and checkpoints."""

    name = "ledger"
    default_auto_field = "django.db.models.BigAutoField"
