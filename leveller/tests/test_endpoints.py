"""The endpoints of the service level agreement as the outside sees them."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import settings as hub
from django.utils import timezone

from ledger.models import Token, Wallet
from ledger.store import StoredTransfer
from ledger.tests import http
from ledger.tests.racing import race
from leveller.models import Agreement
from leveller.services import AgreementError, subscribe
from nocust.addresses import to_checksum
from operator_api.error_codes import ErrorCode
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db
DAY = 86_400


class Shop:
    """A hub that sells agreements for its service token, and a customer who can pay for some."""

    def __init__(self) -> None:
        self.play = Play()
        self.token = self.play.add_token(hub.SLA_TOKEN_ADDRESS, "Liquidity", "LQD")
        self.customer = self.fund(self.token)
        self.seller = self.operator(self.token)

    def fund(self, token: Token) -> SimulatedWallet:
        (player,) = self.play.register(1, token)
        self.play.deposit(player, 5 * hub.SLA_PRICE)
        return player

    def operator(self, token: Token) -> SimulatedWallet:
        """The operator's wallet, as a recipient."""
        wallet = Wallet.objects.get(token=token, trail_identifier=0)
        player = SimulatedWallet.create(self.play.contract, token.address, hub.HUB_OWNER_ACCOUNT_KEY)
        player.wallet_id = wallet.pk
        return player

    def buy(self, transfer: int, wallet: SimulatedWallet | None = None) -> tuple[int, Any]:
        return http.post(url(wallet or self.customer), {"transfer_id": transfer})

    def pay(
        self,
        amount: int | None = None,
        sender: SimulatedWallet | None = None,
        recipient: SimulatedWallet | None = None,
    ) -> int:
        """The row id of a transfer."""
        price = hub.SLA_PRICE if amount is None else amount
        outcome = self.play.pay(sender or self.customer, recipient or self.seller, price)
        assert isinstance(outcome, StoredTransfer)
        return outcome.id


@pytest.fixture
def shop() -> Shop:
    return Shop()


def url(wallet: SimulatedWallet, prefix: str = "0x") -> str:
    return f"/sla/{prefix}{wallet.address.hex()}"


@pytest.mark.parametrize("path", ["/sla/", "/sla"])
def test_what_an_agreement_costs(path: str) -> None:
    status, found = http.get(path)
    assert status == 200
    assert found == {
        "token": to_checksum(hub.SLA_TOKEN_ADDRESS),
        "recipient": to_checksum(hub.SLA_RECIPIENT_ADDRESS),
        "cost": str(hub.SLA_PRICE),
        "limit": hub.SLA_THRESHOLD,
    }


def test_buying_one(shop: Shop) -> None:
    assert http.get(url(shop.customer)) == (404, {"detail": "Not found."})
    transfer = shop.pay()
    status, found = shop.buy(transfer)
    assert (status, list(found)) == (201, ["expiry", "transfer_id"])
    assert found["transfer_id"] == transfer
    assert abs(found["expiry"] - time.time() - hub.SLA_DURATION_DAYS * DAY) < 60
    for path in (url(shop.customer), url(shop.customer, "").upper().replace("SLA", "sla") + "/"):
        assert http.get(path) == (200, found)


def test_an_expired_one_is_none_and_can_be_renewed(shop: Shop) -> None:
    assert shop.buy(shop.pay())[0] == 201
    assert http.object_code(shop.buy(shop.pay())) == "SLA_STILL_VALID_FOR_WALLET"
    Agreement.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert http.get(url(shop.customer))[0] == 404
    assert shop.buy(shop.pay())[0] == 201


def test_each_refusal_has_its_code(shop: Shop) -> None:
    other = shop.fund(shop.token)
    ether = shop.fund(shop.play.tokens[0])
    twin = SimulatedWallet(ether.signer, shop.play.contract, shop.token.address)
    shop.play.admit([twin], shop.token)
    for missing in (0, 10**9, 2**63 - 1):
        assert http.object_code(shop.buy(missing)) == "TRANSFER_DOES_NOT_EXIST"
    assert http.object_code(shop.buy(shop.pay(recipient=other))) == "TRANSFER_MADE_TO_WRONG_WALLET"
    wrong = shop.pay(sender=ether, recipient=shop.operator(shop.play.tokens[0]))
    assert http.object_code(shop.buy(wrong, ether)) == "TRANSFER_MADE_WITH_WRONG_TOKEN"
    assert http.object_code(shop.buy(shop.pay(sender=other))) == "TRANSFER_MADE_BY_OTHER_WALLET"
    for amount in (0, hub.SLA_PRICE - 1):
        assert http.object_code(shop.buy(shop.pay(amount))) == "TRANSFER_AMOUNT_TOO_LOW"
    assert not Agreement.objects.exists()
    transfer = shop.pay()
    assert shop.buy(transfer)[0] == 201
    assert http.object_code(shop.buy(transfer)) == "SLA_ALREADY_EXISTS_FOR_TRANSFER"
    Agreement.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert http.object_code(shop.buy(transfer)) == "SLA_ALREADY_EXISTS_FOR_TRANSFER"


def test_the_transfer_is_a_number(shop: Shop) -> None:
    path = url(shop.customer)
    assert http.field_code(http.post(path, {}), "transfer_id") == "required"
    assert http.field_code(http.post(path, {"transfer_id": None}), "transfer_id") == "null"
    assert http.field_code(http.post(path, {"transfer_id": "x"}), "transfer_id") == "invalid"
    assert http.field_code(http.post(path, {"transfer_id": -1}), "transfer_id") == "min_value"
    assert http.field_code(http.post(path, {"transfer_id": 2**63}), "transfer_id") == "max_value"


def test_hostile_bodies_are_refused_in_a_documented_shape(shop: Shop) -> None:
    for request in http.hostile({"transfer_id": 5}):
        http.check_refusal(http.post(url(shop.customer), request))
    assert not Agreement.objects.exists()


@pytest.mark.parametrize(
    "text", ["x", "0x", "11" * 19, "11" * 21, "zz" * 20, "%00", "..", "0x0x" + "11" * 19]
)
def test_paths_that_are_no_address(text: str) -> None:
    for found in (http.get(f"/sla/{text}"), http.post(f"/sla/{text}", {"transfer_id": 1})):
        assert found == (404, {"detail": "Not found."})


@pytest.mark.django_db(transaction=True)
def test_two_purchases_at_once_make_one_agreement(transactional_db: None) -> None:
    """With the same transfer, and with two of them."""
    shop = Shop()
    for transfers in ([shop.pay()] * 2, [shop.pay(), shop.pay()]):
        outcomes = race([partial(subscribe, shop.customer.address, transfer) for transfer in transfers])
        errors = [outcome.code for outcome in outcomes if isinstance(outcome, AgreementError)]
        assert sum(isinstance(outcome, Agreement) for outcome in outcomes) == 1, outcomes
        assert len(errors) == 1
        assert errors[0] in {
            ErrorCode.SLA_ALREADY_EXISTS_FOR_TRANSFER,
            ErrorCode.SLA_STILL_VALID_FOR_WALLET,
        }
        Agreement.objects.update(expiry=timezone.now() - timedelta(seconds=1))
