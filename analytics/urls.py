"""URLs of the app. Each answers with and without its final slash."""

from django.urls import re_path

from analytics import views

urlpatterns = [
    re_path(r"^analytics/wallets/?$", views.wallets),
    re_path(r"^analytics/transactions/?$", views.transactions),
    re_path(r"^analytics/challenges/?$", views.challenges),
    re_path(r"^analytics/deposits/?$", views.deposits),
    re_path(r"^analytics/withdrawals/?$", views.withdrawals),
]
