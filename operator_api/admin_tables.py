"""The hub's tables in the admin, to look at only."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.admin import ModelAdmin
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from ledger.fields import AddressField, FixedBytesField, HashField
from nocust.addresses import to_checksum

LONGEST = 70
"""Bytes that are shown whole: a signature is 65."""
MOST = 10_000
"""Rows that are counted: to count a large table takes as long as to read it."""
BRIEF = 66
"""Characters of a value in a list: a hash."""
COLUMNS = 12
HEXADECIMAL = re.compile(r"(?:0x)?([0-9a-fA-F]{40}|[0-9a-fA-F]{64})")


class ShortPaginator(Paginator):  # type: ignore[type-arg]  # a type parameter in the stubs alone
    """Pages of the first rows; who looks for others searches."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows[:MOST].count())


def shown(value: Any, field: Any = None) -> Any:
    """A value as people read it: bytes as hexadecimal digits, times to the second."""
    if isinstance(value, bytes | memoryview):
        content = bytes(value)
        if isinstance(field, AddressField):
            return to_checksum(content)
        digits = f"0x{content[:LONGEST].hex()}"
        return digits if len(content) <= LONGEST else f"{digits}… ({len(content)} bytes)"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return "-" if value is None else value


def column(field: Any, whole: bool) -> Any:
    """The column of a field; of a reference, a link to the row. Unless it is shown whole, what is long is cut."""

    def show(row: Any) -> Any:
        value = getattr(row, field.attname)
        if value is None or not field.is_relation:
            text = shown(value, field)
            if not isinstance(text, str) or len(text) <= BRIEF:
                return text
            # Digits without a blank are broken at the edge of the page.
            return (
                format_html('<span style="overflow-wrap: anywhere">{}</span>', text)
                if whole
                else f"{text[:BRIEF]}…"
            )
        target = field.related_model._meta
        try:
            url = reverse(f"admin:{target.app_label}_{target.model_name}_change", args=[value])
        except NoReverseMatch:
            return shown(value)
        return format_html('<a href="{}">{}</a>', url, value)

    show.short_description = field.name.replace("_", " ")  # type: ignore[attr-defined]  # as the admin wants it
    return show


class TableAdmin(ModelAdmin):  # type: ignore[type-arg]  # of any model
    """A table that nobody changes here. The search finds a row's id, an address, a hash or a UUID."""

    actions = None
    ordering = ("-pk",)
    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    paginator = ShortPaginator
    search_fields = ("pk",)
    search_help_text = "id, address (40 hexadecimal digits), hash (64) or UUID"

    def __init__(self, model: Any, site: Any) -> None:
        fields = model._meta.concrete_fields
        self.columns = tuple(column(field, True) for field in fields)
        self.list_display = tuple(column(field, False) for field in fields[:COLUMNS])
        super().__init__(model, site)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.columns

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.columns

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        found = models.Q(pk__in=[])
        if re.fullmatch("[0-9]{1,18}", term):
            found |= models.Q(pk=int(term))
        if digits := HEXADECIMAL.fullmatch(term):
            found |= _holding(self.model, bytes.fromhex(digits[1]))
        try:
            uuid = UUID(term)
        except ValueError:
            pass
        else:
            for field in self.model._meta.concrete_fields:
                if isinstance(field, models.UUIDField):
                    found |= models.Q(**{field.name: uuid})
        return queryset.filter(found), False


def _holding(model: Any, value: bytes) -> models.Q:
    """Rows with this address or hash, or that belong to a wallet with this address."""
    kind: type[FixedBytesField] = AddressField if len(value) == 20 else HashField
    found = models.Q(pk__in=[])
    for field in model._meta.concrete_fields:
        if isinstance(field, kind):
            found |= models.Q(**{field.name: value})
        elif field.is_relation and field.related_model._meta.model_name == "wallet" and len(value) == 20:
            found |= models.Q(**{f"{field.name}__address": value})
    return found
