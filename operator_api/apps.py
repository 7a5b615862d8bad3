from django.apps import AppConfig


class OperatorApiConfig(AppConfig):
    """Settings, URLs, the schedule and the utilities that several apps share."""

    name = "operator_api"
