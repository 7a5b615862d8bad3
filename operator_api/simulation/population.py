"""A development hub filled with wallets, deposits, transfers, orders and eons of history, through its real API and
its real chain. The same seed makes the same keys, amounts and nonces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from uuid import UUID

from ledger.engine import PlaceOrder
from nocust.addresses import to_checksum
from operator_api.simulation.chain_client import ChainClient
from operator_api.simulation.hub_client import HubClient, HubRefusedError
from operator_api.simulation.traders import Trader, order_body
from operator_api.simulation.traffic import OUT_OF_SYNC, POLL_SECONDS, Traffic, TrafficError

Track = Callable[[str, int], Callable[[], None]]
"""Begins a part with that many steps; the function it returns is called after each."""

LONGEST_ORDER = 4
"""Eons."""
PRICES = (80, 120)
"""Percent of one token in the other: so wide that many orders meet and many rest."""


class Population:
    """A crowd that pays in Ether, and traders of Ether and another token. Each trader places one order."""

    def __init__(
        self,
        hub: HubClient,
        chain: ChainClient,
        contract: bytes,
        token: bytes,
        wallets: int,
        orders: int,
        seed: int,
        track: Track,
    ) -> None:
        self.hub = hub
        self.chain = chain
        self.track = track
        self.token = token
        self.traffic = Traffic(hub, chain, contract, wallets, seed)
        self.random = self.traffic.random
        sides = [(contract, token), (token, contract)]
        self.traders = [
            Trader.create(contract, *sides[index % 2], self.random.randbytes(32)) for index in range(orders)
        ]
        self.placed = 0

    def register(self) -> None:
        """Register everybody. Raises TrafficError if this seed was used on the hub before."""
        try:
            self.hub.registration(self.traffic.wallets[0])
        except HubRefusedError as error:
            if error.status != 404:
                raise
        else:
            raise TrafficError("the hub has the wallets of this seed already: take another one")
        everybody = list(self.traffic.wallets)
        for trader in self.traders:
            everybody += [trader.debit, trader.credit]
        for part in self._each("wallets", _parts(everybody, 20)):
            self.hub.register(part)

    def deposit(self, amount: int) -> None:
        """Deposit `amount` for every second payer and every trader, and wait until the hub has credited it."""
        since = self.hub.eon
        self.traffic.deposit(amount)
        tokens = {trader.debit.address: amount for trader in self.traders if trader.debit.token == self.token}
        ether = {trader.debit.address: amount for trader in self.traders if trader.debit.token != self.token}
        for part in self._each("deposits", _parts(sorted(ether.items()), 20)):
            self.chain.deposit_ether(dict(part))
        for part in self._each("token deposits", _parts(sorted(tokens.items()), 20)):
            self.chain.deposit_token(self.token, dict(part))
        for trader in self._each("credits", self.traders):
            self.traffic.wait("a trader's deposit", partial(self.traffic.funded, trader.debit, since))

    def pay(self, payments: int) -> None:
        """That many payments at random."""
        for _ in self._each("payments", range(payments)):
            self.traffic.pay(1)

    def trade(self, amount: int, count: int) -> None:
        """Let the next traders place their orders: all they have, at prices around one for one."""
        for trader in self._each("orders", self.traders[self.placed : self.placed + count]):
            self._place(trader, amount)
            self.placed += 1

    def _place(self, trader: Trader, amount: int) -> None:
        wanted = amount * self.random.randint(*PRICES) // 100
        eons = self.random.randint(1, LONGEST_ORDER)
        nonce = self.random.getrandbits(128)
        while True:
            self._enter(trader)
            order: PlaceOrder = trader.place(amount, wanted, eons, nonce=nonce)
            try:
                receipt: Any = self.hub.call("POST", "swap/", order_body(order))
            except HubRefusedError as error:
                if error.code != OUT_OF_SYNC:
                    raise
                time.sleep(POLL_SECONDS)
            else:
                trader.accepted(order, UUID(receipt["tx_id"]))
                return

    def _enter(self, trader: Trader) -> None:
        """Begin the latest eon if it is a new one, with what its checkpoint allots."""
        eon = self.hub.eon
        if trader.eon == eon:
            return
        if eon > 1:
            self.traffic.wait("the checkpoint", lambda: self.traffic.submitted_eon >= eon)
        starts = []
        for wallet in (trader.debit, trader.credit):
            proof = self.hub.proof(wallet, eon)
            starts.append(0 if proof is None else proof.right - proof.left)
        trader.enter(eon, *starts)

    def verify(self) -> int:
        """Wait for the next checkpoint and verify each payer's proof; the eon. Raises TrafficError."""
        step = self.track("checkpoint", 1)
        eon = self.traffic.verify_checkpoint()
        step()
        return eon

    def figures(self) -> dict[str, Any]:
        """What there is now that was not before."""
        return {
            "wallets": len(self.traffic.wallets) + 2 * len(self.traders),
            "payments": self.traffic.payments,
            "orders": self.placed,
            "first_wallet": to_checksum(self.traffic.wallets[0].address),
        }

    def _each(self, what: str, items: Iterable[Any]) -> Iterable[Any]:
        listed = list(items)
        step = self.track(what, len(listed))
        for item in listed:
            yield item
            step()


def _parts(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
