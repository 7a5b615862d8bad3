"""The admin: the hub's tables to look at, accounts of the operator's people, and what they do by hand."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.apps import apps
from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.utils.text import capfirst
from django.views.decorators.cache import never_cache

from ledger.models import Token, TokenPair
from nocust.addresses import parse_address
from nocust.errors import NocustError
from operator_api import admin_actions as actions
from operator_api import logins
from operator_api.admin_tables import TableAdmin
from operator_api.models import OperatorAction
from synchronizer.models import SetAside

TABLES = ("ledger", "contractor", "leveller", "tos", "heartbeat", "synchronizer")
"""The apps whose tables are shown."""


class HubAdminSite(AdminSite):
    """The admin of a hub."""

    site_header = site_title = f"NOCUST hub {settings.SERVER_NAME}"
    index_title = "Tables and actions"
    site_url = "/swagger/"

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: Any = None) -> Any:
        if request.method == "POST" and logins.too_many(request.META.get("REMOTE_ADDR", "")):
            return HttpResponse("Too many attempts to log in. Wait five minutes.", "text/plain", 429)
        return super().login(request, extra_context)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """What is done by hand first; a table by the name of one of its rows, for most have no good plural."""
        found: list[Any] = super().get_app_list(request, app_label)
        for group in found:
            for table in group["models"]:
                if isinstance(self._registry[table["model"]], TableAdmin):
                    table["name"] = capfirst(table["model"]._meta.verbose_name)
        return sorted(found, key=lambda group: group["app_label"] != OperatorAction._meta.app_label)


class ActionForm(forms.ModelForm):  # type: ignore[type-arg]  # the stub's parameter
    """What is to be done, and why."""

    MAINTENANCE_ON, MAINTENANCE_OFF = "maintenance on", "maintenance off"
    ADD, PAUSE, RESUME = "add pair", "pause pair", "resume pair"
    BAR, LET_IN = "bar address", "let address in"
    TELL_AGAIN, RESYNC = "tell again", "resync"
    NEEDS = {
        ADD: ("token", "other"),
        PAUSE: ("pair",),
        RESUME: ("pair",),
        BAR: ("address",),
        LET_IN: ("address",),
        RESYNC: ("block",),
    }

    refused = ""
    """Why the action could not be done, when it was tried."""

    action = forms.ChoiceField(
        choices=[
            ("", "---------"),
            (MAINTENANCE_ON, "Maintenance on: refuse all writes with HUB_MAINTENANCE"),
            (MAINTENANCE_OFF, "Maintenance off: accept writes again"),
            (ADD, "Add a pair: accept orders between two tokens"),
            (PAUSE, "Pause a pair: accept and match no orders between two tokens"),
            (RESUME, "Resume a pair"),
            (BAR, "Bar an address from registering"),
            (LET_IN, "Let a barred address register again"),
            (RESYNC, "Resync: read the chain again from a block on, and take in what is missing"),
            (TELL_AGAIN, "Tell an event again that was set aside, or all of them"),
        ]
    )
    token = forms.ModelChoiceField(Token.objects.all(), required=False, help_text="to add a pair")
    other = forms.ModelChoiceField(Token.objects.all(), required=False, help_text="to add a pair")
    pair = forms.ModelChoiceField(
        TokenPair.objects.all(), required=False, help_text="to pause or resume it, in both directions"
    )
    address = forms.CharField(max_length=42, required=False, help_text="to bar it or let it in")
    event = forms.ModelChoiceField(
        SetAside.objects.all(), required=False, help_text="to tell it again; none: all"
    )
    block = forms.IntegerField(
        min_value=0, max_value=2**62, required=False, help_text="to read the chain again from"
    )
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), help_text="kept for ever")

    class Meta:
        model = OperatorAction
        fields = ("action", "token", "other", "pair", "address", "event", "block", "reason")

    def clean_address(self) -> bytes | None:
        text = self.cleaned_data["address"].strip()
        try:
            return parse_address(text) if text else None
        except NocustError:
            raise forms.ValidationError("An address is 40 hexadecimal digits after 0x.") from None

    def clean(self) -> Any:
        values = super().clean() or {}
        for needed in self.NEEDS.get(values.get("action", ""), ()):
            if needed not in self.errors and values.get(needed) in {None, ""}:
                self.add_error(needed, "This action needs it.")
        if self.refused:
            raise forms.ValidationError(f"Nothing was done: {self.refused}.")
        return values


def perform(who: str, values: dict[str, Any]) -> OperatorAction:
    """Do what a form says. Raises ActionError."""
    action, reason = values["action"], values["reason"]
    if action in {ActionForm.MAINTENANCE_ON, ActionForm.MAINTENANCE_OFF}:
        return actions.set_maintenance(who, action == ActionForm.MAINTENANCE_ON, reason)
    if action == ActionForm.ADD:
        return actions.add_pair(who, values["token"], values["other"], reason)
    if action in {ActionForm.PAUSE, ActionForm.RESUME}:
        pair: TokenPair = values["pair"]
        paused = action == ActionForm.PAUSE
        return actions.pause_pair(who, pair.token_from, pair.token_to, paused, reason)
    if action in {ActionForm.BAR, ActionForm.LET_IN}:
        act = actions.bar if action == ActionForm.BAR else actions.let_in
        return act(who, values["address"], reason)
    if action == ActionForm.RESYNC:
        return actions.resync(who, values["block"], reason)
    return actions.tell_again(who, values["event"], reason)


class ActionAdmin(TableAdmin):
    """What was done by hand; to add a row is to do it."""

    form = ActionForm

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("operator_api.add_operatoraction"))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ActionForm.Meta.fields if obj is None else self.columns

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.columns

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        done = perform(cast(User, request.user).get_username(), form.cleaned_data)
        obj.pk, obj.time, obj.who, obj.subject = done.pk, done.time, done.who, done.subject

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.refused = getattr(request, "refused", "")  # type: ignore[attr-defined]  # a class of this request
        return form

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        try:
            return super().add_view(request, form_url, extra_context)
        except actions.ActionError as error:
            request.refused = str(error)  # type: ignore[attr-defined]  # the form as it was sent is shown with it
            return super().add_view(request, form_url, extra_context)


site = HubAdminSite()
site.register(OperatorAction, ActionAdmin)
site.register(User, UserAdmin)
site.register(Group, GroupAdmin)
site.register(LogEntry, TableAdmin)
for _label in TABLES:
    site.register(list(apps.get_app_config(_label).get_models()), TableAdmin)
