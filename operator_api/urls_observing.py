"""URLs for those who run the hub. Each answers with and without its final slash."""

from django.urls import re_path

from operator_api import views_observing as views

urlpatterns = [
    re_path(r"^status/?$", views.hub_status),
    re_path(r"^health/live/?$", views.live),
    re_path(r"^health/ready/?$", views.ready),
    re_path(r"^metrics/?$", views.prometheus),
]
