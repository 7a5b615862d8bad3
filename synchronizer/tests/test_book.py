"""A copy of the order book, kept from a snapshot and what is told after it, is the book: whatever happens to
orders, however often the connection breaks, and though messages between the hub's processes are lost."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from auditor import market as auditor_market
from ledger.models import Event, Outbox, Token, Transfer
from nocust.matching_orders import Order
from operator_api.simulation.traders import Trader
from swapper.selectors import open_pairs
from swapper.tests.exchange_market import LQD, MarketPlay, done
from synchronizer import relay
from synchronizer.database import in_database
from synchronizer.tests.conftest import Client, Connect, tell

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 60

Levels = dict[int, list[int]]
"""By price: what is left to give and to get, and of how many orders."""


@dataclass
class Bot:
    """Follows both directions of a market as docs/websocket.md says."""

    ether: str
    client: Client
    orders: dict[str, Any] = field(default_factory=dict)
    eon: int = 0
    position: int = 0

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(self.ether, LQD.hex()), (LQD.hex(), self.ether)]

    async def take_snapshot(self) -> None:
        answers = []
        for sold, bought in self.pairs:
            params = {"sold_token": sold, "bought_token": bought}
            answers.append(await self.client.ask("get", resource="orders", params=params))
        self.orders = {order["tx_id"]: order for answer in answers for order in answer["data"]["data"]}
        self.eon = min(answer["eon_number"] for answer in answers)
        self.position = min(answer["position"] for answer in answers)

    async def subscribe(self) -> None:
        names = ["hub", *(f"tokenpair/{sold}/{bought}" for sold, bought in self.pairs)]
        await self.client.send({"op": "subscribe", "args": {"streams": names, "since": self.position}})

    async def listen(self) -> None:
        """Take all that was told."""
        for frame in await self.client.notifications():
            assert frame["position"] > self.position
            self.position = frame["position"]
            self.apply(frame["data"]["data"]["type"], frame["data"]["data"]["data"])

    def apply(self, event: str, model: Any) -> None:
        if event == "CHECKPOINT_CREATED":
            self.eon = model["eon_number"]
            self.orders = {key: of for key, of in self.orders.items() if of["eon_number"] >= self.eon}
        elif event in {"FROZEN_SWAP", "CANCELLED_SWAP"} or model.get("complete"):
            self.orders.pop(model.get("tx_id"), None)
        elif event in {"INCOMING_SWAP", "MATCHED_SWAP"} and model["eon_number"] >= self.eon:
            self.orders[model["tx_id"]] = model

    def books(self, sides: dict[str, str]) -> list[Levels]:
        """Levels of both directions; `sides` says what each order sells, by its tx_id."""
        return [
            levels(_order(of) for key, of in self.orders.items() if sides[key] == sold)
            for sold, _ in self.pairs
        ]


def _order(of: Any) -> Order:
    done_so_far = of["matched_amounts"]
    amounts = (of["amount"], of["amount_swapped"], done_so_far["matched_out"], done_so_far["matched_in"])
    amount, swapped, out, into = map(int, amounts)
    return Order(of["id"], 0, amount, swapped, of["sell_order"], out, into)


def levels(orders: Any) -> Levels:
    found: Levels = defaultdict(lambda: [0, 0, 0])
    for order in orders:
        for index, value in enumerate((order.visible_out, order.visible_in, 1)):
            found[order.price][index] += value
    return dict(found)


def real_books(market: MarketPlay) -> list[Levels]:
    """What GET orderbook is made from."""
    ether, liquid = Token.objects.order_by("pk")
    book = auditor_market.order_book(ether, liquid, market.play.eon)
    return [
        {
            Order(0, 0, level.amount, level.amount_swapped, True).price: [
                level.remaining_out,
                level.remaining_in,
                level.orders,
            ]
            for level in side
        }
        for side in (book.sells, book.buys)
    ]


def sides() -> dict[str, str]:
    rows = Transfer.objects.filter(swap=True).values_list("tx_id", "wallet__token__address")
    return {str(key): bytes(token).hex() for key, token in rows}


class Happenings:
    """What traders and the hub do, by chance."""

    def __init__(self, source: random.Random) -> None:
        open_pairs.clear()
        self.source = source
        self.market = MarketPlay.create()
        self.frozen: list[Trader] = []

    def orders(self, count: int) -> None:
        for _ in range(count):
            amount = self.source.randint(50, 200)
            wanted = amount * self.source.randint(80, 125) // 100
            eons, sell = self.source.randint(1, 3), self.source.random() < 0.7
            self.market.order(amount, wanted, self.source.randint(0, 1), eons, sell)
        self.market.exchange.step()

    def freeze(self) -> None:
        for one in self._open(cancelled=False, complete=False)[:2]:
            done(one.freeze())

    def cancel(self) -> None:
        for one in self._open(cancelled=True)[:1]:
            row = self.market.row(one)
            done(one.cancel(row.matched_out or 0, row.matched_in or 0))

    def finalize(self) -> None:
        for one in self._open(complete=True)[:1]:
            done(one.finalize(self.market.row(one).matched_in or 0))

    def _open(self, **state: bool) -> list[Trader]:
        """Traders whose order of the eon is in force and in such a state, in any order."""
        rows = Transfer.objects.filter(
            swap=True, processed=False, appended=True, eon_number=self.market.play.eon, **state
        )
        keys = set(rows.values_list("tx_id", flat=True))
        found = [one for one in self.market.traders if one.order is not None and one.tx_id in keys]
        self.source.shuffle(found)
        return found

    def next(self) -> None:
        """Something."""
        actions = [self.freeze, self.cancel, self.finalize, self.market.next_eon]
        self.source.choices(
            [lambda: self.orders(self.source.randint(1, 3)), *actions], weights=[6, 2, 2, 2, 1]
        )[0]()


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_copy_of_the_book_is_the_book(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    source = random.Random(seed)
    happenings = await in_database(Happenings, source)
    ether = bytes(happenings.market.play.tokens[0].address).hex()
    await in_database(happenings.orders, 6)
    await tell()
    await in_database(happenings.freeze)
    await in_database(happenings.orders, 3)  # in the snapshot, and told after it
    bot = Bot(ether, await connect())
    await bot.take_snapshot()
    assert bot.orders
    await bot.subscribe()
    for _ in range(ROUNDS):
        await in_database(happenings.next)
        with monkeypatch.context() as lost:
            if source.random() < 0.3:
                lost.setattr(relay.Relay, "_publish", lambda *_: None)
            await tell()
        if source.random() < 0.2:
            await bot.client.close()
            bot.client = await connect()
            await bot.subscribe()
        if source.random() < 0.2:
            await tell()
            await check(bot, happenings)
    await tell()
    await check(bot, happenings)
    assert bot.orders
    assert not await in_database(Outbox.objects.exists)
    assert bot.eon > 1


async def check(bot: Bot, happenings: Happenings) -> None:
    await bot.listen()
    assert bot.books(await in_database(sides)) == await in_database(real_books, happenings.market)


async def test_a_freezing_is_told_on_the_stream_of_the_pair_only(connect: Connect) -> None:
    happenings = await in_database(Happenings, random.Random(1))
    await in_database(happenings.orders, 1)
    await tell()
    (one,) = happenings.market.traders
    sold, bought = one.debit.token.hex(), one.credit.token.hex()
    client = await connect()
    wallets = [f"wallet/{side.token.hex()}/{side.address.hex()}" for side in (one.debit, one.credit)]
    await client.ask("subscribe", streams=[f"tokenpair/{sold}/{bought}", *wallets])
    await in_database(happenings.freeze)
    assert await in_database(lambda: [row.event for row in Outbox.objects.all()]) == [Event.SWAP_FREEZING]
    await tell()
    row = await in_database(happenings.market.row, one)
    event, model = await client.event()
    assert (event, model["id"], model["tx_id"]) == ("FROZEN_SWAP", row.pk, str(row.tx_id))
    assert model["matched_amounts"] == {"matched_in": "0", "matched_out": "0"}
    assert await client.is_silent()
    await client.ask("get", resource="orders", params={"sold_token": sold, "bought_token": bought})
