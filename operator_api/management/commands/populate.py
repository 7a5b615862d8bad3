"""Fill a development hub with wallets, deposits, payments, orders and history."""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from nocust.errors import NocustError
from operator_api.simulation.chain_client import ChainClient
from operator_api.simulation.hub_client import HubClient, HubRefusedError
from operator_api.simulation.population import Population
from operator_api.simulation.traffic import TrafficError

MINIMA = {"wallets": 2, "eons": 1, "payments": 0, "orders": 0, "deposit": 1}


class Command(BaseCommand):
    """`manage.py populate --hub http://localhost:8123`"""

    help = (
        "Register wallets, deposit for them from the operator's account, pay and trade at random for some eons, and"
        " verify every payer's proof against the root on chain. Prints figures as JSON."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        here = f"http://localhost:{os.environ.get('HUB_PORT') or 8123}"
        parser.add_argument("--hub", default=here, help=f"where the hub listens; {here}")
        parser.add_argument("--wallets", type=int, default=20, help="that pay each other, at least 2")
        parser.add_argument("--payments", type=int, default=100, help="in each eon")
        parser.add_argument("--orders", type=int, default=10, help="in each eon, each of a trader of its own")
        parser.add_argument("--eons", type=int, default=1, help="each ends with its checkpoint")
        parser.add_argument("--deposit", type=int, default=10**15, help="smallest units for each depositor")
        parser.add_argument("--seed", type=int, default=None, help="repeats keys, amounts and nonces")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError("This deposits from the operator's account: for development hubs only.")
        for name, least in MINIMA.items():
            if options[name] < least:
                raise CommandError(f"--{name} must be at least {least}")
        seed = time.time_ns() if options["seed"] is None else options["seed"]
        begun = time.monotonic()
        with ExitStack() as bars:
            try:
                figures = self._populate(options, seed, bars)
            except (TrafficError, HubRefusedError, NocustError, OSError, RuntimeError) as error:
                raise CommandError(f"{type(error).__name__}: {error} (seed {seed})") from None
        self.stdout.write(
            json.dumps({**figures, "seconds": round(time.monotonic() - begun, 1), "seed": seed})
        )

    def _populate(self, options: dict[str, Any], seed: int, bars: ExitStack) -> dict[str, Any]:
        def track(what: str, steps: int) -> Callable[[], None]:
            bar = bars.enter_context(tqdm(total=steps, desc=f"{what:>14}", disable=None, unit=""))

            def step() -> None:
                bar.update()

            return step

        contract = settings.HUB_LQD_CONTRACT_ADDRESS
        node_url = settings.HUB_ETHEREUM_NODE_URL.split(",")[0]
        population = Population(
            HubClient(options["hub"]),
            ChainClient(node_url, contract, settings.HUB_OWNER_ACCOUNT_KEY),
            contract,
            settings.SLA_TOKEN_ADDRESS,
            options["wallets"],
            options["orders"] * options["eons"],
            seed,
            track,
        )
        population.register()
        population.deposit(options["deposit"])
        eons = []
        for _ in range(options["eons"]):
            population.trade(options["deposit"], options["orders"])
            population.pay(options["payments"])
            eons.append(population.verify())
        return {**population.figures(), "checkpoints_verified": eons}
