"""`manage.py archive`: old checkpoints in files instead of the database."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ledger.archive import LEAST_KEPT, Archived
from ledger.models import RootCommitment
from operator_api import admin_actions as actions

MIB = 2**20


class Command(BaseCommand):
    """`manage.py archive write /archive --keep 1000`, for example each night."""

    help = (
        "Move checkpoints that no rule of the contract looks at any more into files, or bring one back."
        " docs/operations/archive.md says what the hub does without them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command")
        commands.add_parser("list", help="the eons whose checkpoints are archived; the default")
        write = commands.add_parser("write", help="archive all but the newest checkpoints")
        restore = commands.add_parser("restore", help="bring a checkpoint back; its file stays")
        for command in (write, restore):
            command.add_argument("directory", type=Path, help="of the files")
        write.add_argument("--keep", type=int, default=1000, help=f"how many, {LEAST_KEPT} at least; 1000")
        write.add_argument("--reason", default="they are old", help="kept with who did it and when")
        restore.add_argument("eon", type=int)
        restore.add_argument("--reason", default="", help="kept with who did it and when")

    def handle(self, *args: Any, **options: Any) -> None:
        command = options["command"] or "list"
        who = actions.at_the_command_line()
        try:
            if command == "write":
                self._write(actions.archive(who, options["directory"], options["keep"], options["reason"]))
            elif command == "restore":
                found = actions.restore_checkpoint(
                    who, options["directory"], options["eon"], options["reason"]
                )
                self._say("restored", found)
            else:
                self._list()
        except actions.ActionError as error:
            raise CommandError(str(error)) from None

    def _write(self, done: Iterator[Archived]) -> None:
        found = None
        for found in done:
            self._say("archived", found)
        if found is None:
            self.stdout.write("no checkpoint is old enough")

    def _say(self, what: str, found: Archived) -> None:
        size = found.size / MIB
        self.stdout.write(f"eon {found.eon}: {found.rows} rows {what}; {found.path} has {size:.1f} MiB")

    def _list(self) -> None:
        rows = RootCommitment.objects.filter(archive_digest__isnull=False)
        for eon, digest in rows.values_list("eon_number", "archive_digest"):
            self.stdout.write(f"eon {eon}  SHA-256 {bytes(digest or b'').hex()}")
        if not rows:
            self.stdout.write("no checkpoint is archived")
