"""Whether the hub is held, and ending it."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max, Q
from django.utils import timezone

from restoration.models import Hold, SubmittedRoot


def open_holds() -> list[Hold]:
    """Those that nobody has decided on, the oldest first."""
    return list(Hold.objects.filter(first_eon__isnull=True))


def newest() -> int:
    """The number of the newest hold, decided or not; 0 if there was none."""
    return Hold.objects.aggregate(newest=Max("pk"))["newest"] or 0


def bars(eon: int) -> bool:
    """Whether the hub may sign nothing in an eon."""
    return Hold.objects.filter(Q(first_eon__isnull=True) | Q(first_eon__gt=eon)).exists()


def bars_checkpoint(eon: int) -> bool:
    """Whether the checkpoint of an eon may not be made yet: nothing is decided, and it is not one that the contract
    holds already, whose root would prove that nothing of the eon before was lost."""
    return (
        Hold.objects.filter(first_eon__isnull=True).exists()
        and not SubmittedRoot.objects.filter(eon_number=eon).exists()
    )


def signs_from() -> int:
    """The first eon that no decision bars; 0 if none does."""
    return Hold.objects.aggregate(eon=Max("first_eon"))["eon"] or 0


def decide(decision: Hold.Decision, first_eon: int) -> int:
    """End all open holds; how many there were. `first_eon` 0: the hub signs again at once."""
    with transaction.atomic():
        return Hold.objects.filter(first_eon__isnull=True).update(
            decision=decision, first_eon=first_eon, decided=timezone.now()
        )
