"""The limit by Ethereum address: every write counts against the address that signed it."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from ledger import store
from ledger.models import Wallet
from ledger.tests.checks import row_counts
from nocust.addresses import to_checksum
from operator_api import limits
from operator_api.error_pages import document
from operator_api.limits import Buckets, Taken
from operator_api.simulation.play import Play
from operator_api.simulation.traders import order_body
from operator_api.simulation.wallets import SimulatedWallet, transfer_body
from swapper.tests import market
from swapper.tests.test_ending_endpoints import cancellation, finalization, freezing
from tos import services as tos

pytestmark = pytest.mark.django_db


class Recorder(Buckets):
    """Buckets that tell who took tokens."""

    def __init__(self) -> None:
        super().__init__(rate=1e-6, size=100)
        self.taken: list[Hashable] = []

    def take(self, key: Hashable, tokens: int = 1) -> Taken:
        self.taken += [key] * tokens
        return super().take(key, tokens)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    monkeypatch.setattr(limits, "_address_buckets", lambda: found)
    return found


class Writes:
    """For each write of the API a request that is accepted, with the addresses that signed it."""

    def __init__(self) -> None:
        play = Play()
        market.market(play)
        payer, customer, owner = play.register(1)[0], play.register(1, play.tokens[1])[0], play.register(1)[0]
        for player in (payer, customer, owner):
            play.deposit(player, 2 * settings.SLA_PRICE)
        price = play.pay(customer, self._seller(play), settings.SLA_PRICE)
        assert isinstance(price, store.StoredTransfer)
        maker, taker, frozen, newcomer = (market.trader(play, 1000, sells) for sells in (0, 1, 0, 0))
        rows = [market.place(one, 1000, 1000).order.row for one in (maker, taker, frozen)]
        market.fill(taker, maker, 400, 400)
        filled = market.trader(play, 600, 1)
        rows.append(market.place(filled, 600, 600).order.row)
        market.fill(filled, maker, 600, 600)
        store.execute([frozen.freeze()])
        fresh, first, second = (SimulatedWallet.create(play.contract, play.contract) for _ in range(3))
        terms = tos.publish("cc" * 32, "dd" * 32)
        alone, *bulk = (one.registration(play.eon, tos.digest(terms)) for one in (fresh, first, second))
        self.requests: dict[str, tuple[str, Any, list[bytes]]] = {
            "/transfer/": ("/transfer/", transfer_body(payer.transfer(owner.owner, 5)), [payer.address]),
            "/transfer/delegated_withdrawal/": self._withdrawal(play, owner),
            "/admission/": ("/admission/", alone, [fresh.address]),
            "/admission/bulk/": (
                "/admission/bulk/",
                {"admissions": bulk},
                [first.address, second.address],
            ),
            "/tos/": (
                "/tos/",
                {
                    "address": to_checksum(payer.address),
                    "tos_signature": payer.signer.sign(tos.digest(terms)).hex(),
                },
                [payer.address],
            ),
            "/sla/{wallet}/": (
                f"/sla/{to_checksum(customer.address)}/",
                {"transfer_id": price.id},
                [customer.address],
            ),
            "/swap/": ("/swap/", order_body(newcomer.place(1000, 10**6)), [newcomer.debit.address]),
            "/swap/{row}/freeze/": (
                f"/swap/{rows[1]}/freeze/",
                freezing(taker.freeze()),
                [taker.debit.address],
            ),
            "/swap/{row}/cancel/": (
                f"/swap/{rows[2]}/cancel/",
                cancellation(frozen.cancel(0, 0)),
                [frozen.debit.address],
            ),
            "/swap/{row}/finalize/": (
                f"/swap/{rows[3]}/finalize/",
                finalization(filled.finalize(600)),
                [filled.debit.address],
            ),
        }
        self.methods = {
            path: method
            for path, item in document().paths.items()
            for method, _ in item.operations
            if method != "get"
        }

    @staticmethod
    def _seller(play: Play) -> SimulatedWallet:
        wallet = Wallet.objects.get(token=play.tokens[1], trail_identifier=0)
        seller = SimulatedWallet.create(play.contract, wallet.token.address, settings.HUB_OWNER_ACCOUNT_KEY)
        seller.wallet_id = wallet.pk
        return seller

    @staticmethod
    def _withdrawal(play: Play, owner: SimulatedWallet) -> tuple[str, Any, list[bytes]]:
        expiry = play.status.first_block_of(play.eon) + 50
        body = {
            "signature": owner.delegation(5, expiry).hex(),
            "wallet": to_checksum(owner.address),
            "token": to_checksum(owner.token),
            "amount": "5",
            "expiry": expiry,
        }
        return "/transfer/delegated_withdrawal/", body, [owner.address]

    def send(self, path: str) -> Any:
        url, body, _ = self.requests[path]
        return getattr(Client(), self.methods[path])(url, json.dumps(body), "application/json")


def test_every_write_counts_against_the_address_that_signed_it(recorder: Recorder) -> None:
    writes = Writes()
    assert set(writes.methods) == set(writes.requests)
    for path, (_, _, signers) in writes.requests.items():
        recorder.taken.clear()
        answer = writes.send(path)
        assert answer.status_code in {200, 201}, (path, answer.content)
        assert sorted(recorder.taken, key=str) == sorted(signers, key=str), path
        recorder.taken.clear()
        if path != "/transfer/delegated_withdrawal/":
            writes.send(path)  # what is refused, or was done before, counts for nobody
            assert recorder.taken == [], path


def test_every_write_is_refused_when_its_address_wrote_too_often(recorder: Recorder) -> None:
    writes = Writes()
    before = row_counts()
    for path, (_, _, signers) in writes.requests.items():
        recorder.take(signers[-1], 100)
        answer = writes.send(path)
        assert (answer.status_code, answer["X-RateLimit-Remaining"]) == (429, "0"), path
        assert int(answer["Retry-After"]) > 0
    assert row_counts() == before
