"""`manage.py pairs`: which tokens are traded here."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from nocust.addresses import to_checksum
from operator_api import admin_actions as actions
from swapper import pairs
from swapper.pairs import Direction, PairError


class Command(BaseCommand):
    """Pairs are changed in both directions at once, and the change is written down. TOKEN is a short name or an
    address."""

    help = "List the pairs of tokens that are traded, add or remove one, or stop and go on with its trade."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command")
        commands.add_parser("list", help="all pairs with their orders; the default")
        for name, text in {
            "add": "accept orders between two tokens",
            "remove": "accept none any more; refused while there are orders that are not over",
            "pause": "accept and match no orders; they can still be frozen and cancelled",
            "resume": "accept and match orders again",
        }.items():
            command = commands.add_parser(name, help=text)
            command.add_argument("token", metavar="TOKEN")
            command.add_argument("other", metavar="TOKEN")
            command.add_argument("--reason", default="", help="kept with who did it and when")

    def handle(self, *args: Any, **options: Any) -> None:
        command = options["command"] or "list"
        try:
            if command != "list":
                self._change(command, options["token"], options["other"], options["reason"])
        except actions.DoneAlreadyError as error:
            self.stdout.write(str(error))
        except (PairError, actions.ActionError) as error:
            raise CommandError(str(error)) from error
        self._list()

    def _change(self, command: str, name: str, other_name: str, reason: str) -> None:
        token, other = pairs.find_token(name), pairs.find_token(other_name)
        who = actions.at_the_command_line()
        if command == "add":
            actions.add_pair(who, token, other, reason)
        elif command == "remove":
            actions.remove_pair(who, token, other, reason)
        else:
            actions.pause_pair(who, token, other, command == "pause", reason)

    def _list(self) -> None:
        rows = pairs.directions()
        if not rows:
            self.stdout.write("no tokens are traded")
        for row in rows:
            self.stdout.write(_line(row))


def _line(row: Direction) -> str:
    pair = row.pair
    tokens = f"{pair.token_from.short_name} to {pair.token_to.short_name}"
    addresses = f"{to_checksum(pair.token_from.address)} {to_checksum(pair.token_to.address)}"
    state = "paused" if pair.paused else "open"
    return f"{tokens:<16}  {state:<6}  {row.orders:>7} orders  {addresses}"
