"""Transfers that the engine decides and applies a second, in memory: with signatures verified one by one, together
in batches, and not at all."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.common import conditions, report
from ledger.engine import Account, Facts, Key, Rules, Transfer, Transferred, apply, decide
from nocust.batch import Batch
from operator_api.simulation.wallets import SimulatedWallet

CONTRACT = secrets.token_bytes(20)
WALLETS = 100
ROUNDS = 3
BATCH = 100
"""Transfers whose signatures are verified together."""
HISTORIES = (1, 10, 100, 1000)
"""Transfers that each sender makes in the eon: what one costs must not grow with them."""


def script(wallets: int, each: int) -> tuple[dict[Key, Account], list[Transfer]]:
    """Accounts, and transfers signed beforehand in the order they will be decided in."""
    players = [SimulatedWallet.create(CONTRACT, CONTRACT) for _ in range(wallets)]
    accounts: dict[Key, Account] = {}
    for number, player in enumerate(players):
        player.wallet_id, player.trail, player.eon = number, number, 1
        accounts[number, 1] = Account(player.owner, 1, deposited=10**24)
    received = [0] * wallets
    commands = []
    for turn in range(each):
        for number, player in enumerate(players):
            to = (number + turn + 1) % wallets
            if to == number:
                to = (to + 1) % wallets
            command = player.transfer(players[to].owner, turn + 1)
            player.accepted(command, received[to])
            received[to] += command.amount
            commands.append(command)
    return accounts, commands


def run(accounts: dict[Key, Account], commands: list[Transfer], verify: Callable[[], Batch]) -> float:
    """Decide and apply all; transfers a second."""
    facts, state = Facts(eon=1), dict(accounts)
    began = time.perf_counter()
    for first in range(0, len(commands), BATCH):
        batch = verify()
        rules = Rules(CONTRACT, 10**9, frozenset(), batch.is_valid)
        for command in commands[first : first + BATCH]:
            event = decide(state, command, facts, rules)
            assert isinstance(event, Transferred), event
            state.update(apply(state, event))
        assert batch.holds()
    return len(commands) / (time.perf_counter() - began)


class _Unverified(Batch):
    """Takes everything for valid."""

    def is_valid(self, message: bytes, signature: bytes, address: bytes) -> bool:
        return True


def _one_by_one() -> Batch:
    return Batch(None)


def measure() -> dict[str, Any]:
    results: dict[str, Any] = {}
    for history in HISTORIES:
        accounts, commands = script(max(WALLETS // max(history // 100, 1), 2), history)
        results[f"{history}_transfers_each"] = {
            name: round(median(run(accounts, commands, verify) for _ in range(ROUNDS)))
            for name, verify in (
                ("per_second_one_by_one", _one_by_one),
                ("per_second_together", Batch),
                ("per_second_without_signatures", _Unverified),
            )
        }
    return results


if __name__ == "__main__":
    report("engine", conditions(), measure())
