"""Funds that their owner requests of the contract itself, and at the same time has the hub request in its name."""

from __future__ import annotations

import pytest

from contractor.tests.challenger import Player
from contractor.tests.conftest import BLOCKS_PER_EON, Hub
from contractor.tests.court import OPEN_ERA, beat, check_won, players, settle
from contractor.tests.test_slashing import request
from ledger.engine import Refusal
from ledger.models import DelegatedWithdrawal, WithdrawalRequest
from nocust.messages import withdrawal_authorization_hash
from transactor.services import delegate_withdrawal

FUNDS = 100


def authorise(player: Player, last_eon: int) -> DelegatedWithdrawal | Refusal:
    """Have the hub withdraw all that the player has, until the end of an eon; as if it had requested nothing."""
    owner, expiry = player.owner.owner, player.hub.status.first_block_of(last_eon + 1) - 1
    contract = bytes.fromhex(player.hub.node.contract.address[2:])
    message = withdrawal_authorization_hash(contract, owner.token, owner.address, expiry, FUNDS)
    return delegate_withdrawal(owner, FUNDS, expiry, player.owner.signer.sign(message))


def requested() -> list[int]:
    return [int(row.amount) for row in WithdrawalRequest.objects.all()]


@pytest.mark.parametrize("first", ["the owner", "the hub"])
def test_funds_are_requested_once(hub: Hub, first: str) -> None:
    """Whichever the hub hears of first, the contract has the owner's before it."""
    owner, other = players(hub, 2, FUNDS)
    if first == "the owner":
        request(owner, FUNDS)  # mined, and not deep yet
    made = authorise(owner, 3)
    assert isinstance(made, DelegatedWithdrawal), made
    if first == "the hub":
        request(owner, FUNDS)
    settle(hub, 6)
    hub.go_to(4, OPEN_ERA)
    settle(hub, 6)
    made.refresh_from_db()
    assert made.state == DelegatedWithdrawal.State.FAILED
    assert requested() == [FUNDS]
    hub.go_to(5, OPEN_ERA)
    assert other.challenge_state(4)
    settle(hub, 7)
    check_won(hub, 5, 1)


def test_an_authorisation_ends_with_the_eon_whose_requests_it_counts(hub: Hub) -> None:
    owner, _ = players(hub, 2, FUNDS)
    refused = authorise(owner, 4)
    assert isinstance(refused, Refusal)
    assert refused.code == "INVALID_EXPIRY"


def test_requests_of_the_eon_before_are_debited_first(hub: Hub) -> None:
    owner, _ = players(hub, 2, FUNDS)
    hub.node.mine_to_era(3, BLOCKS_PER_EON - 2)
    beat(hub)
    request(owner, FUNDS)  # in the eon's last block
    hub.node.mine()
    beat(hub)
    assert hub.status.eon == 4
    refused = authorise(owner, 4)
    assert isinstance(refused, Refusal)
    assert refused.code == "EON_NUMBER_OUT_OF_SYNC"
    settle(hub, 6)
    refused = authorise(owner, 4)
    assert isinstance(refused, Refusal)
    assert refused.code == "DEBIT_WALLET_OVERSPENDING"
    assert requested() == [FUNDS]
