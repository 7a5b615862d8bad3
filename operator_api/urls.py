"""All URLs. Every path answers with and without its final slash, directly."""

from django.conf import settings
from django.urls import include, path

from operator_api.swagger import schema_view

urlpatterns = [
    path("", include("admission.urls")),
    path("", include("auditor.urls")),
    path("", include("analytics.urls")),
    path("", include("transactor.urls")),
    path("", include("swapper.urls")),
    path("", include("leveller.urls")),
    path("", include("tos.urls")),
    path("", include("synchronizer.urls")),
    path("", include("operator_api.urls_observing")),
    path("swagger/", schema_view.with_ui("swagger", cache_timeout=0), name="swagger"),
    path("redoc/", schema_view.with_ui("redoc", cache_timeout=0), name="redoc"),
]
if settings.HUB_ADMIN_PATH:
    from operator_api.admin_site import site

    urlpatterns.append(path(f"{settings.HUB_ADMIN_PATH}/", site.urls))
handler404 = "operator_api.rest.not_found"
handler500 = "operator_api.rest.server_error"
