"""URLs of orders. Each answers with and without its final slash."""

from django.urls import re_path

from swapper import views

_ROW = r"^swap/(?P<row>[0-9]+)"

urlpatterns = [
    re_path(r"^swap/?$", views.OrderView.as_view(), name="swap"),
    re_path(rf"{_ROW}/freeze/?$", views.FreezeView.as_view(), name="swap-freeze"),
    re_path(rf"{_ROW}/cancel/?$", views.CancelView.as_view(), name="swap-cancel"),
    re_path(rf"{_ROW}/finalize/?$", views.FinalizeView.as_view(), name="swap-finalize"),
]
