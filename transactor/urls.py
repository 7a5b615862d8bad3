"""URLs of transfers."""

from django.urls import re_path

from transactor.views import DelegatedWithdrawalView, TransferView

urlpatterns = [
    re_path(r"^transfer/?$", TransferView.as_view(), name="transfer"),
    re_path(
        r"^transfer/delegated_withdrawal/?$", DelegatedWithdrawalView.as_view(), name="delegated-withdrawal"
    ),
]
