"""Take nothing new from anybody for a while."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ledger.models import ChainStatus
from operator_api.admin_actions import ActionError, at_the_command_line, set_maintenance


class Command(BaseCommand):
    """`manage.py maintenance on --reason "moving the database"`"""

    help = "Refuse all writes with HUB_MAINTENANCE, or accept them again. Without a word: say which it is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("state", nargs="?", choices=["on", "off"])
        parser.add_argument("--reason", default="", help="kept with who did it and when")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["state"] is not None:
            try:
                set_maintenance(at_the_command_line(), options["state"] == "on", options["reason"])
            except ActionError as error:
                raise CommandError(str(error)) from None
        on = ChainStatus.objects.filter(maintenance=True).exists()
        self.stdout.write(
            "maintenance: nothing new is accepted" if on else "no maintenance: the hub takes requests"
        )
