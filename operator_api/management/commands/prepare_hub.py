"""`manage.py prepare_hub`: everything that must be there before the processes start. May run at any time."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from contractor import checkpoints, follower, sender
from contractor.chain import chain, check_chain
from contractor.errors import ChainError, ForkTooDeepError, NodeError, NodesDisagreeError
from contractor.tokens import register_token
from ledger.models import ChainStatus, Token
from nocust.addresses import to_checksum
from operator_api.keys import operator_key
from swapper import pairs
from tos import services as terms_of_service

POLL_SECONDS = 0.3


class Command(BaseCommand):
    """Checks the chain, registers the hub's tokens, publishes the terms of service and catches up."""

    help = (
        "Check node, contract and database against each other, register ether and the service token, publish the"
        " terms of service, and read the chain up to its head."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--timeout", type=float, default=120.0, help="seconds to wait for the registration to be mined"
        )
        parser.add_argument(
            "--catch-up",
            type=float,
            default=20.0,
            help="seconds to spend on blocks missed while the hub was down",
        )

    def handle(self, *args: object, **options: Any) -> None:
        try:
            self._prepare(options["timeout"], options["catch_up"])
        except (ChainError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error

    def _prepare(self, timeout: float, catch_up: float) -> None:
        operator_key()
        parameters = check_chain()
        self._say(
            f"contract {to_checksum(parameters.contract)} on chain {parameters.chain_id}: genesis block"
            f" {parameters.genesis_block}, {parameters.blocks_per_eon} blocks an eon"
        )
        follower.start(chain())
        ether = self._token(settings.HUB_LQD_CONTRACT_ADDRESS, "Ethereum", "ETH", timeout)
        token = self._token(
            settings.SLA_TOKEN_ADDRESS, settings.SLA_TOKEN_NAME, settings.SLA_TOKEN_NAME, timeout
        )
        if not settings.PRODUCTION and ether != token and pairs.add(ether, token):
            self._say(f"{ether} and {token} can be traded")
        config = terms_of_service.publish(
            settings.TOS_PRIVACY_POLICY_DIGEST, settings.TOS_TERMS_OF_SERVICE_DIGEST
        )
        self._say(f"terms of service {config.terms_of_service_digest[:8]}… published")
        self._catch_up(catch_up)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _token(self, address: bytes, name: str, short_name: str, timeout: float) -> Token:
        """The registered token; sends its registration and waits until it is mined where it is new."""
        deadline = time.monotonic() + timeout
        told = False
        while (token := register_token(address, name, short_name)) is None:
            if time.monotonic() > deadline:
                raise CommandError(
                    f"the registration of {short_name} at {to_checksum(address)} was not mined in {timeout:.0f} s"
                )
            if not told:
                self._say(f"{short_name}: registering {to_checksum(address)} in the contract")
                told = True
            sender.step()
            time.sleep(POLL_SECONDS)
        self._say(f"{short_name}: {to_checksum(address)}, trail {token.trail}")
        return token

    def _catch_up(self, seconds: float) -> None:
        """Read blocks until there are no new ones, eon by eon; the workers go on where the time does not do."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                work = follower.step() + checkpoints.create_due_checkpoint()
            except NodeError as error:
                self.stderr.write(f"{error}; trying again")
                work = 1
                time.sleep(POLL_SECONDS)
            except (ForkTooDeepError, NodesDisagreeError) as error:
                # Proofs are served all the same, and the hub's own transactions watched.
                self.stderr.write(
                    f"WARNING: {error}; the hub starts, but accepts nothing new until that is resolved"
                )
                work = 0
            status = ChainStatus.objects.get()
            if not work or time.monotonic() > deadline:
                break
            self._say(f"block {status.head_block}, eon {status.eon}")
        self._say(f"the ledger is at block {status.head_block} in eon {status.eon}")
        if status.halted:
            self._say("WARNING: the contract is halted; the hub serves proofs, but accepts nothing new")
