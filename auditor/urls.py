"""URLs of the app. Each answers with and without its final slash."""

from django.urls import re_path

from auditor import views
from operator_api.plain_reads import plainly

_ADDRESS = "(?:0x)?[0-9a-fA-F]{40}"
_TOKEN = f"(?P<token>{_ADDRESS})"
_WALLET = f"(?P<wallet>{_ADDRESS})"
_LEFT = f"(?P<left_token>{_ADDRESS})"
_RIGHT = f"(?P<right_token>{_ADDRESS})"

urlpatterns = [
    re_path(r"^audit/?$", plainly(views.status, views.find_status)),
    re_path(r"^audit/tokens/?$", plainly(views.tokens, views.find_tokens)),
    re_path(r"^audit/transactions/?$", views.transactions),
    re_path(r"^audit/transactions/(?P<transaction_id>[0-9]+)/?$", views.transaction),
    re_path(
        rf"^audit/{_TOKEN}/{_WALLET}/whois/?$",
        plainly(views.whois, views.find_registration, views.find_registrations),
    ),
    re_path(rf"^audit/{_LEFT}/{_RIGHT}/orderbook/?$", views.order_book),
    re_path(rf"^audit/{_LEFT}/{_RIGHT}/matches/?$", views.matches),
    re_path(rf"^audit/{_TOKEN}/{_WALLET}/recovery/?$", views.recovery_bundle),
    re_path(
        rf"^audit/(?P<eon_number>[0-9]+)/{_TOKEN}/{_WALLET}/?$",
        plainly(views.wallet_state, views.find_wallet_state, views.find_wallet_states),
    ),
]
