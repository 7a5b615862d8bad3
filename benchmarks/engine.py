"""Transfers that the engine decides and applies a second, in memory, with and without checking signatures."""

from __future__ import annotations

import importlib
import secrets
import time
from statistics import median
from typing import Any

from benchmarks.common import conditions, report
from ledger.engine import Account, Facts, Key, Rules, Transfer, Transferred, apply, decide
from operator_api.simulation.wallets import SimulatedWallet

CONTRACT = secrets.token_bytes(20)
WALLETS = 100
ROUNDS = 3
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


def run(accounts: dict[Key, Account], commands: list[Transfer]) -> float:
    """Decide and apply all; transfers a second."""
    rules, facts = Rules(CONTRACT, 10**9, frozenset()), Facts(eon=1)
    state = dict(accounts)
    began = time.perf_counter()
    for command in commands:
        event = decide(state, command, facts, rules)
        assert isinstance(event, Transferred), event
        state.update(apply(state, event))
    return len(commands) / (time.perf_counter() - began)


def measure() -> dict[str, Any]:
    module = importlib.import_module("ledger.engine.decide")
    results: dict[str, Any] = {}
    for history in HISTORIES:
        accounts, commands = script(max(WALLETS // max(history // 100, 1), 2), history)
        checked = median(run(accounts, commands) for _ in range(ROUNDS))
        is_valid = module.__dict__["is_valid"]
        module.__dict__["is_valid"] = lambda *_: True
        try:
            unchecked = median(run(accounts, commands) for _ in range(ROUNDS))
        finally:
            module.__dict__["is_valid"] = is_valid
        results[f"{history}_transfers_each"] = {
            "per_second": round(checked),
            "per_second_without_signatures": round(unchecked),
        }
    return results


if __name__ == "__main__":
    report("engine", conditions(), measure())
