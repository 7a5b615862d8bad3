"""Let wallets use a running hub at random and check that it owes them nothing."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from nocust.errors import NocustError
from operator_api.simulation.chain_client import ChainClient
from operator_api.simulation.hub_client import HubClient, HubRefusedError
from operator_api.simulation.traffic import Traffic, TrafficError


class Command(BaseCommand):
    """`manage.py simulate --hub http://localhost:8123`"""

    help = (
        "Register wallets, deposit for them from the operator's account, pay at random for some eons, and verify"
        " every wallet's proof against the root on chain. Prints figures as JSON."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hub", default="http://localhost:8123", help="where the hub listens")
        parser.add_argument("--wallets", type=int, default=20, help="at least 2")
        parser.add_argument("--payments", type=int, default=100, help="in each eon")
        parser.add_argument("--eons", type=int, default=1)
        parser.add_argument("--deposit", type=int, default=10**15, help="wei for every second wallet")
        parser.add_argument("--seed", type=int, default=None, help="repeats keys and payments")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError("This deposits from the operator's account: for development hubs only.")
        if options["wallets"] < 2 or options["eons"] < 1 or options["payments"] < 0:
            raise CommandError("At least 2 wallets, 1 eon and no negative number of payments.")
        seed = time.time_ns() if options["seed"] is None else options["seed"]
        contract = settings.HUB_LQD_CONTRACT_ADDRESS
        node_url = settings.HUB_ETHEREUM_NODE_URL.split(",")[0]
        chain = ChainClient(node_url, contract, settings.HUB_OWNER_ACCOUNT_KEY)
        traffic = Traffic(HubClient(options["hub"]), chain, contract, options["wallets"], seed)
        begun = time.monotonic()
        try:
            traffic.register()
            traffic.deposit(options["deposit"])
            eons = []
            for _ in range(options["eons"]):
                traffic.pay(options["payments"])
                eons.append(traffic.verify_checkpoint())
        except (TrafficError, HubRefusedError, NocustError, OSError, RuntimeError) as error:
            raise CommandError(f"{type(error).__name__}: {error} (seed {seed})") from None
        figures = {
            "wallets": options["wallets"],
            "payments": traffic.payments,
            "checkpoints_verified": eons,
            "seconds": round(time.monotonic() - begun, 1),
            "seed": seed,
        }
        self.stdout.write(json.dumps(figures))
