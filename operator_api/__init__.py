"""The operator API: the Django project of the hub."""

from operator_api.celery import app as celery_app

__all__ = ["celery_app"]
