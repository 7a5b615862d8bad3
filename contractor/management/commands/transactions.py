"""`manage.py transactions`: see what the operator has on its way to the chain, hurry it or take it back."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from contractor.builders import DISPENSABLE
from contractor.models import EthereumTransaction
from operator_api.admin_actions import note_command

State, Wish = EthereumTransaction.State, EthereumTransaction.Wish
OPEN = (State.QUEUED, State.SENT)
GWEI = 10**9


class Command(BaseCommand):
    """Only marks what is wanted: the worker that sends transactions holds the operator's nonce alone."""

    help = "List the operator's transactions, offer more for one, or replace one by a payment of nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command")
        shown = commands.add_parser("list", help="those on their way; the default")
        shown.add_argument("--all", action="store_true", help="the newest finished ones, too")
        shown.add_argument("--limit", type=int, default=50)
        for name, text in {
            "bump": "send it again at a higher fee now",
            "cancel": "replace it by a payment of nothing; what the hub needs is built anew",
        }.items():
            command = commands.add_parser(name, help=text)
            command.add_argument("id", type=int)
            command.add_argument("--reason", default="", help="kept with who did it and when")

    def handle(self, *args: Any, **options: Any) -> None:
        command = options["command"] or "list"
        if command == "list":
            self._list(options.get("all", False), options.get("limit", 50))
        else:
            self._wish(options["id"], Wish(command), options["reason"])

    def _list(self, everything: bool, limit: int) -> None:
        rows = EthereumTransaction.objects.prefetch_related("attempts")
        if not everything:
            rows = rows.filter(state__in=OPEN)
        for row in reversed(rows.order_by("-pk")[:limit]):
            self.stdout.write(self._line(row))

    def _line(self, row: EthereumTransaction) -> str:
        parts = [f"{row.pk:>6}  {row.state:<10}  {row.tag}"]
        made = [attempt for attempt in row.attempts.all() if attempt.nonce == row.nonce]
        if row.nonce is not None:
            parts.append(f"nonce {row.nonce}")
        if made:
            newest = made[-1]
            parts.append(f"{newest.gas_price / GWEI:g} gwei, attempt {len(made)} of block {newest.block}")
            parts.append(f"0x{newest.hash.hex()}")
            if newest.cancels:
                parts.append("being cancelled")
        mined = [attempt.mined for attempt in made if attempt.mined is not None]
        if mined:
            parts.append(f"in block {mined[0]}")
        if row.refusals:
            parts.append(f"refused {row.refusals} times")
        if row.wish:
            parts.append(f"to be {'cancelled' if row.wish == Wish.CANCEL else 'bumped'}")
        if row.note:
            parts.append(row.note)
        return "; ".join(parts)

    def _wish(self, key: int, wish: EthereumTransaction.Wish, reason: str) -> None:
        with transaction.atomic():
            row = EthereumTransaction.objects.select_for_update().filter(pk=key).first()
            if row is None:
                raise CommandError(f"there is no transaction {key}; `transactions list --all` shows them")
            if row.state not in OPEN:
                raise CommandError(f"transaction {key} ({row.tag}) is {row.state} already")
            if row.state == State.QUEUED and wish == Wish.CANCEL and row.kind not in DISPENSABLE:
                raise CommandError(f"transaction {key} ({row.tag}) is not sent yet, and the hub needs it")
            row.wish = wish
            row.save(update_fields=["wish"])
            note_command(f"{wish} transaction", f"{key} {row.tag}", reason)
        self.stdout.write(
            f"{row.tag}: will be {'cancelled' if wish == Wish.CANCEL else 'bumped'} in a moment"
        )
