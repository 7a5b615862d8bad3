"""Who has a service level agreement."""

from __future__ import annotations

from django.utils import timezone

from leveller.models import Agreement


def valid_agreement(address: bytes) -> Agreement | None:
    """The address's agreement that has not expired, if any."""
    return Agreement.objects.filter(address=address, expiry__gt=timezone.now()).order_by("-expiry").first()


def has_agreement(address: bytes) -> bool:
    """Whether the address has an agreement that has not expired."""
    return Agreement.objects.filter(address=address, expiry__gt=timezone.now()).exists()
