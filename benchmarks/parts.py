"""What a transfer, a registration, an event and a state cost each part of the hub: figures that `benchmarks.model`
needs and no benchmark through HTTP can tell apart.

    python -m benchmarks.parts [--transfers 3000] [--batch 32] [--wallets 500]

The ledger is called in this process, without HTTP: processor time of Python and of all of PostgreSQL's processes,
bytes of write-ahead log, and bytes that tables and indexes grew by.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from typing import Any

from benchmarks.common import conditions, ledger_database, postgres_conditions, report
from benchmarks.meter import Cost, Meter
from benchmarks.telling import redis

SPREAD = 20
"""Batches that pass until a wallet pays again."""


def measure(transfers: int, batch: int, wallets: int) -> dict[str, Any]:
    from auditor import selectors
    from ledger import store
    from ledger.models import Outbox
    from operator_api import collector
    from operator_api.simulation.play import Play
    from synchronizer.relay import BATCH, Relay

    play, meter = Play(), Meter()
    registered = meter.cost(lambda: [play.register(20) for _ in range(wallets // 20)])
    players = play.register(SPREAD * batch)
    for player in players:
        play.deposit(player, 10**9)
    Outbox.objects.all().delete()

    def transfer(count: int) -> Cost:
        spent = 0.0

        def work() -> None:
            nonlocal spent
            for number in range(count // batch):
                began = time.process_time()
                first = number % (SPREAD - 1) * batch
                senders, recipients = players[first : first + batch], players[first + batch :]
                commands = [
                    sender.transfer(to.owner, 1, 0) for sender, to in zip(senders, recipients, strict=False)
                ]
                spent += time.process_time() - began
                outcomes = store.execute(commands)
                began = time.process_time()
                for sender, command, outcome in zip(senders, commands, outcomes, strict=True):
                    assert isinstance(outcome, store.StoredTransfer), outcome
                    sender.accepted(command, outcome.event.position)
                spent += time.process_time() - began

        cost = meter.cost(work)
        return Cost(cost.python - spent, cost.postgres, cost.log, cost.stored, cost.seconds - spent)

    transfer(10 * batch)
    moved = transfer(transfers)
    alone = meter.cost(lambda: [play.pay(players[0], players[1], 1) for _ in range(200)])
    collector.spare()
    with asyncio.Runner() as runner:
        relay = Relay(runner)
        waiting = Outbox.objects.count()
        told = meter.cost(lambda: [relay.tell() for _ in range(-(-waiting // BATCH))])
    assert not Outbox.objects.exists()
    play.next_eon()

    def look() -> None:
        for player in players * 2:
            found = selectors.wallet_state(player.token, player.address, play.eon)
            assert found is not None
            assert found[1].proof is not None

    look()
    read = meter.cost(look)
    return {
        f"transfer_in_batches_of_{batch}": moved.each(transfers // batch * batch),
        "transfer_alone_signing_included": alone.each(200),
        "registration_in_twenties_signing_included": registered.each(wallets // 20 * 20),
        "event_told": told.each(waiting),
        "state_with_proof_read": read.each(2 * len(players)),
        "postgresql": postgres_conditions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transfers", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--wallets", type=int, default=500)
    options = parser.parse_args()
    start = conditions()
    with redis() as url:
        os.environ |= {"REDIS_URL": url, "SLA_THRESHOLD": "1000000"}
        with ledger_database():
            report("parts", start, measure(options.transfers, options.batch, options.wallets))


if __name__ == "__main__":
    main()
