from django.apps import AppConfig


class RestorationConfig(AppConfig):
    """Noticing a restored database, and holding the hub until the operator has decided."""

    name = "restoration"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.backends.signals import connection_created

        from restoration import identity

        connection_created.connect(identity.look, dispatch_uid="restoration.identity")
