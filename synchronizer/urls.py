"""Where the websocket's documentation is."""

from django.urls import re_path

from synchronizer import views

urlpatterns = [
    re_path(r"^websocket/?$", views.page, name="websocket"),
    re_path(r"^websocket/asyncapi\.json$", views.asyncapi, name="asyncapi"),
]
