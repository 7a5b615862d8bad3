from django.apps import AppConfig


class OperatorApiConfig(AppConfig):
    """Settings, URLs, the schedule and the utilities that several apps share."""

    name = "operator_api"
    verbose_name = "Operator"

    def ready(self) -> None:
        from operator_api import logs, metrics, tracing  # noqa: F401  (they connect to the signals of tasks)

        tracing.start()
