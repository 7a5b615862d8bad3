"""Service level agreements."""

from __future__ import annotations

from django.db import models

from ledger.fields import AddressField
from ledger.models import Transfer


class Agreement(models.Model):
    """An address may add any number of transactions an eon, from `beginning` until `expiry`. Bought with one
    transfer to the hub's service wallet."""

    address = AddressField(db_index=True)
    transfer = models.OneToOneField(Transfer, on_delete=models.PROTECT)
    beginning = models.DateTimeField()
    expiry = models.DateTimeField()
