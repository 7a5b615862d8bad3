"""The alarms that stand."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from contractor.models import Alarm
from heartbeat.channels import runbook
from operator_api.admin_actions import note_command


class Command(BaseCommand):
    """Shows alarms, and closes one that somebody has seen to."""

    help = "Lists the alarms that stand, with --all those that are over, too; `close ID` ends one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", nargs="?", choices=["list", "close"], default="list")
        parser.add_argument("id", nargs="?", type=int)
        parser.add_argument("--all", action="store_true", help="Those that are over, too.")
        parser.add_argument("--reason", default="", help="Kept with who closed it and when.")

    def handle(self, *_: Any, **options: Any) -> None:
        if options["action"] == "close":
            self._close(options["id"], options["reason"])
        else:
            self._list(options["all"])

    def _close(self, key: int | None, reason: str) -> None:
        if key is None:
            raise CommandError("name the alarm: `alarms` lists those that stand, `alarms close ID` ends one")
        with transaction.atomic():
            standing = Alarm.objects.select_for_update().filter(cleared__isnull=True)
            row = standing.filter(pk=key).first()
            if row is None:
                raise CommandError(f"no alarm {key} stands")
            row.cleared = timezone.now()
            row.save(update_fields=["cleared"])
            note_command("close alarm", f"{key} {row.subject}", reason)
        self.stdout.write(f"alarm {key} is closed; if its cause is still there it is raised again")

    def _list(self, everything: bool) -> None:
        rows = Alarm.objects.all() if everything else Alarm.objects.filter(cleared__isnull=True)
        for row in rows:
            until = "" if row.cleared is None else f", over since {row.cleared:%Y-%m-%d %H:%M:%S}"
            self.stdout.write(
                f"{row.pk} {row.severity} {row.subject}: {row.text}\n"
                f"    {row.count} times from {row.first:%Y-%m-%d %H:%M:%S} to {row.last:%H:%M:%S} UTC{until}"
                f" - {runbook(row.subject)}"
            )
        if not rows:
            self.stdout.write("no alarm stands")
