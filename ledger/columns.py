"""Models in hand-written statements: their columns there, and their instances from its rows."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from django.db import models
from django.db.models.base import ModelState

from ledger.sql import Row

Stored = TypeVar("Stored", bound=models.Model)


class Columns(Generic[Stored]):
    """All columns of a model's table, which the statement calls `alias`."""

    def __init__(self, model: type[Stored], alias: str) -> None:
        fields = model._meta.concrete_fields
        self._model = model
        self._names = [field.attname for field in fields]
        self._key = next(place for place, field in enumerate(fields) if field.primary_key)
        self._converters = [
            (place, field.from_db_value)
            for place, field in enumerate(fields)
            if hasattr(field, "from_db_value")
        ]
        self.width = len(fields)
        self.text = ", ".join(f'{alias}."{field.column}"' for field in fields)

    def read(self, row: Row, start: int) -> Stored | None:
        """The instance whose columns begin at `start` of a row; None for one that an outer join left out."""
        if row[start + self._key] is None:
            return None
        values: list[Any] = list(row[start : start + self.width])
        for place, convert in self._converters:
            values[place] = convert(values[place])
        # As Django makes one that was pickled: its constructor looks for what a row cannot lack, and takes longer
        # than to read the row.
        found = self._model.__new__(self._model)
        found._state = ModelState()
        found._state.adding = False
        found.__dict__.update(zip(self._names, values, strict=True))
        return found

    def get(self, row: Row, start: int = 0) -> Stored:
        """The instance whose columns begin at `start` of a row, of a statement that leaves none out."""
        found = self.read(row, start)
        assert found is not None
        return found
