"""URLs of the terms of service."""

from django.urls import re_path

from tos.views import LatestTerms, SignTerms

urlpatterns = [
    re_path(r"^tos/latest/?$", LatestTerms.as_view(), name="tos-latest"),
    re_path(r"^tos/?$", SignTerms.as_view(), name="tos-sign"),
]
