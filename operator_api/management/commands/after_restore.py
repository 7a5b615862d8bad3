"""`manage.py after_restore`: what a restored database lacks, and the operator's decision about it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from contractor.errors import ChainError
from ledger.models import ActiveState, ChainStatus, Transfer, Wallet
from operator_api.admin_actions import at_the_command_line, note_command
from operator_api.models import OperatorAction
from operator_api.restored import Comparison, compare, lost_states, waiting_transactions
from restoration import holds, identity
from restoration.models import Hold


class Command(BaseCommand):
    """Compares and reports; changes something with a decision only."""

    help = (
        "After the database was restored, copied or failed over: compare it with the chain, report what cannot be"
        " recovered, and, with a decision, let the hub sign again. docs/operations/backup.md says how to decide."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--detect", action="store_true", help="only look whether the hub must be held")
        parser.add_argument("--hold", metavar="REASON", help="hold the hub by hand")
        parser.add_argument(
            "--states",
            metavar="FILE",
            type=Path,
            help="a JSON list of states that wallets hold: which of them the ledger lacks",
        )
        decision = parser.add_mutually_exclusive_group()
        decision.add_argument(
            "--nothing-lost",
            action="store_true",
            help="it is certain that the database has everything that was signed: sign again at once",
        )
        decision.add_argument(
            "--accept-loss",
            action="store_true",
            help="go on without what was lost: sign again from the next eon on",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["hold"] is not None:
            if not options["hold"].strip():
                raise CommandError("say why the hub is to be held: --hold 'the disk was rolled back'")
            with transaction.atomic():
                note_command("hold", "", options["hold"])
                identity.hold(options["hold"])
        identity.watch()
        found = holds.open_holds()
        decides = options["nothing_lost"] or options["accept_loss"]
        if decides and not found:
            raise CommandError("the hub is not held: there is nothing to decide")
        if options["detect"] and not found:
            return
        if not found:
            self._say("The hub is not held: the database is the one it was.")
            if (first := holds.signs_from()) > 0:
                self._say(f"After the last decision it signs from eon {first} on.")
        for hold in found:
            self._say(f"The hub is held since {hold.noticed:%Y-%m-%d %H:%M:%S} UTC: {hold.reason}.")
        if not ChainStatus.objects.exists():
            self._say("The ledger is empty: it has read nothing of the chain.")
            return
        try:
            result = compare(found[0] if found else Hold.objects.last())
        except ChainError as error:
            raise CommandError(str(error)) from error
        if not options["detect"]:
            self._report(result, found[0] if found else None)
            self._examine(options["states"])
        if found and decides:
            self._decide(result, options["accept_loss"])

    def _say(self, line: str) -> None:
        self.stdout.write(line)

    def _report(self, result: Comparison, hold: Hold | None) -> None:
        status = result.status
        newest = ActiveState.objects.filter(operator_signature__isnull=False).order_by("-id").first()
        self._say(
            f"The ledger is at block {status.confirmed_block} of {result.head}, in eon {status.eon}; the contract"
            f" is in eon {result.chain_eon}. It has {Wallet.objects.count()} wallets and"
            f" {Transfer.objects.count()} transfers and orders; the newest state it signed is"
            + (f" of {newest.time:%Y-%m-%d %H:%M:%S} UTC, eon {newest.eon_number}." if newest else " none.")
        )
        for eon, root in sorted(result.submitted.items()):
            verdict = (
                "is not made again yet"
                if eon in result.missing
                else "has another root here"
                if eon in result.different
                else f"is the same here: nothing of eon {eon - 1} was lost"
                if eon > 1
                else "is the same here"
            )
            self._say(f"  checkpoint {eon}, {root.hex()[:16]}… on chain, {verdict}")
        for state, count in waiting_transactions().items():
            self._say(
                f"{count} transactions of the operator are {state} here; the sender compares them itself."
            )
        if hold is not None and result.unproven:
            since = f" since {hold.restored_to:%Y-%m-%d %H:%M:%S} UTC" if hold.restored_to else ""
            self._say(
                "Deposits, withdrawals and challenges come back from the chain. What the hub signed"
                f"{since} does not: transfers, orders and registrations of eons"
                f" {result.unproven[0]} to {result.unproven[-1]} may be missing, and the chain cannot tell."
            )
        for obstacle in result.obstacles():
            self._say(f"Obstacle: {obstacle}.")

    def _examine(self, path: Path | None) -> None:
        if path is None:
            return
        try:
            entries = json.loads(path.read_text())
            told, count = lost_states(entries if isinstance(entries, list) else [entries])
        except (OSError, ValueError) as error:
            raise CommandError(f"{path}: {error}") from error
        for line in told:
            self._say(f"Lost: {line}")
        self._say(f"{len(told)} of {count} states are not in the ledger.")

    def _decide(self, result: Comparison, loss: bool) -> None:
        if obstacles := result.obstacles():
            raise CommandError("it cannot be decided yet:\n  " + "\n  ".join(obstacles))
        first = max(result.status.eon, result.chain_eon) + 1 if loss else 0
        decision = Hold.Decision.LOSS_ACCEPTED if loss else Hold.Decision.NOTHING_LOST
        with transaction.atomic():
            holds.decide(decision, first)
            OperatorAction.objects.create(
                who=at_the_command_line(), action="after_restore", subject=decision.value
            )
        self._say(
            f"Decided: {decision.value}. The hub signs"
            + (f" again from eon {first} on, so that it contradicts nothing." if loss else " again now.")
        )
