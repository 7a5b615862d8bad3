"""`manage.py resync`: read the chain again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from contractor.models import Resync
from operator_api import admin_actions as actions


class Command(BaseCommand):
    """`manage.py resync 1234 --reason "the node was repaired"`; the chain's worker does it."""

    help = (
        "Have the contract's events read again from a block on, and what is missing taken in. Without a block: say"
        " what came of it the last times."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("block", nargs="?", type=int)
        parser.add_argument("--reason", default="", help="kept with who did it and when")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["block"] is not None:
            try:
                actions.resync(actions.at_the_command_line(), options["block"], options["reason"])
            except actions.ActionError as error:
                raise CommandError(str(error)) from None
        for row in Resync.objects.all()[:5]:
            self.stdout.write(f"{row.time:%Y-%m-%d %H:%M:%S} UTC: {row}")
