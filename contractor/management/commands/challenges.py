"""`manage.py challenges`: the disputes, until when each has to be answered, and how far its answer is."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from contractor.disputes import answers, describe
from ledger.models import ChainStatus, Challenge


class Command(BaseCommand):
    """Only shows; everything is answered by itself."""

    help = "List the open challenges with their deadlines and the state of their answers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="those that are won, too")
        parser.add_argument("--limit", type=int, default=50)

    def handle(self, *args: Any, **options: Any) -> None:
        status = ChainStatus.objects.first()
        rows = Challenge.objects.order_by("-id")
        if not options["all"]:
            rows = rows.filter(rebuted=False)
        shown = list(rows[: options["limit"]])
        for row in reversed(shown):
            self.stdout.write(f"{describe(row)}: {self._state(row, status)}")
        if not shown:
            self.stdout.write("there are no open challenges")

    @staticmethod
    def _state(row: Challenge, status: ChainStatus | None) -> str:
        if row.rebuted:
            return "won"
        left = row.deadline - (0 if status is None else status.head_block)
        deadline = (
            f"answer by block {row.deadline}, {left} left" if left > 0 else f"lost in block {row.deadline}"
        )
        sent = answers(row)
        if not sent:
            return f"{deadline}; no answer is queued yet"
        newest = sent[-1]
        note = f" ({newest.note})" if newest.note else ""
        return f"{deadline}; {newest.tag} is {newest.state}{note}"
