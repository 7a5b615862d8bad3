"""`manage.py register_token ADDRESS NAME SHORT`: let the hub deal in another ERC-20 token."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable
from functools import cache
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from contractor.chain import contract
from contractor.errors import ChainError, NodeError
from contractor.models import EthereumTransaction
from contractor.tokens import register_token, registration_tag
from ledger.models import Token
from ledger.store import HubNotReadyError
from nocust.addresses import parse_address, to_checksum
from nocust.errors import NocustError
from operator_api.admin_actions import note_command

POLL_SECONDS = 1.0


class Command(BaseCommand):
    """Queues the registration, waits until it is mined, and reads the token's trail back from the chain."""

    help = "Register an ERC-20 token in the contract and in the hub. May be repeated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", help="of the token's contract")
        parser.add_argument("name", help="for wallets, as in 'Dai Stablecoin'")
        parser.add_argument("short_name", help="as in DAI")
        parser.add_argument("--timeout", type=float, default=600.0, help="seconds to wait until it is mined")
        parser.add_argument("--reason", default="", help="kept with who did it and when")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            address = parse_address(options["address"])
        except NocustError as error:
            raise CommandError(str(error)) from error

        @cache  # it queues the registration, makes the token, or does both, which is one action
        def note() -> None:
            note_command("register token", to_checksum(address), options["reason"])

        try:
            token = self._register(address, options["name"], options["short_name"], options["timeout"], note)
        except HubNotReadyError as error:
            raise CommandError("the chain has not been read yet; start the hub first") from error
        except ChainError as error:
            raise CommandError(str(error)) from error
        trail = contract().token_trail(token.address)
        if trail != token.trail:
            raise CommandError(f"the contract has the token in place {trail}, the hub in place {token.trail}")
        self.stdout.write(f"{token.short_name}: {to_checksum(token.address)}, trail {trail}")

    def _register(
        self, address: bytes, name: str, short_name: str, timeout: float, note: Callable[[], None]
    ) -> Token:
        """The registered token. The hub's own worker sends the transaction meanwhile."""
        deadline = time.monotonic() + timeout
        told = ""
        while (token := self._try(address, name, short_name, note)) is None:
            row = EthereumTransaction.objects.get(tag=registration_tag(address))
            if row.state == EthereumTransaction.State.FAILED:
                raise CommandError(f"the registration failed: {row.note}")
            line = f"the registration is {row.state}" + (f": {row.note}" if row.note else "")
            if line != told:
                self.stdout.write(line)
                told = line
            if time.monotonic() > deadline:
                raise CommandError(f"it was not mined in {timeout:.0f} s; run this again later")
            time.sleep(POLL_SECONDS)
        return token

    def _try(self, address: bytes, name: str, short_name: str, note: Callable[[], None]) -> Token | None:
        try:
            return register_token(address, name, short_name, note)
        except NodeError as error:
            if not EthereumTransaction.objects.filter(tag=registration_tag(address)).exists():
                raise
            self.stderr.write(f"{error}; trying again")
            return None
