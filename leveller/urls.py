"""URLs of the service level agreement."""

from django.urls import re_path

from leveller.views import AgreementView, TermsView

urlpatterns = [
    re_path(r"^sla/?$", TermsView.as_view(), name="sla"),
    re_path(r"^sla/(?P<wallet>(?:0x)?[0-9a-fA-F]{40})/?$", AgreementView.as_view(), name="sla-wallet"),
]
