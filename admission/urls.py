"""URLs of registration."""

from django.urls import re_path

from admission.views import AdmissionView, BulkAdmissionView

urlpatterns = [
    re_path(r"^admission/?$", AdmissionView.as_view(), name="admission"),
    re_path(r"^admission/bulk/?$", BulkAdmissionView.as_view(), name="admission-bulk"),
]
