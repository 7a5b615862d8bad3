"""`manage.py resolve_fork`: go on after a fork deeper than the confirmations."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from contractor.chain import chain
from contractor.errors import ChainError
from contractor.fork_repair import repair
from contractor.forks import compare
from ledger.models import ChainStatus
from operator_api.admin_actions import note_command


class Command(BaseCommand):
    """Shows what the new branch means for the ledger; changes it with --apply only."""

    help = (
        "Compare the ledger with the chain after a deep fork, and with --apply make it what the chain says. The hub"
        " may run meanwhile."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--apply", action="store_true", help="do what is shown")
        parser.add_argument("--reason", default="", help="kept with who did it and when")
        parser.add_argument(
            "--covered",
            action="store_true",
            help="what the missing deposits were has been sent to the contract, without a deposit",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        status = ChainStatus.objects.first()
        if status is None or not status.forked:
            self.stdout.write("the chain has not forked below an applied block")
            return
        try:
            found = compare(chain(), status)
            self.stdout.write(
                f"the newest common block is {found.ancestor.number}, {status.confirmed_block} is applied; the new"
                f" branch was read up to block {found.last}"
            )
            for line in found.effects() or ["nothing that was applied changes"]:
                self.stdout.write(line)
            if problems := found.problems(options["covered"]):
                raise CommandError("it can't be resolved yet:\n  " + "\n  ".join(problems))
            if not options["apply"]:
                self.stdout.write("run it again with --apply to do this")
                return
            with transaction.atomic():
                subject = f"blocks {found.ancestor.number + 1} to {status.confirmed_block}"
                note_command("resolve fork", subject, options["reason"])
                repair(found, status, options["covered"])
        except ChainError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"resolved; the hub goes on from block {found.ancestor.number}")
