"""Nobody gets more out of a chain that halts than the final checkpoint and later deposits make his."""

from __future__ import annotations

import pytest

from contracts.gas_lab import EXTENDED_EPOCH, PLAIN, Lab
from contracts.gas_scenarios import FEE, NOW, PAST
from contracts.synthetic import COIN, Entry, Place
from contracts.tests.people import ALICE, DAVE
from nocust.encoding import ZERO_HASH


def request(lab: Lab, place: Place, amount: int) -> None:
    lab.act(
        ALICE,
        "requestWithdrawal",
        lab.token.address,
        [ZERO_HASH, ZERO_HASH],
        place.path.trail,
        place.path.hashes,
        place.membership,
        place.path.values,
        [place.lr, place.passive_mark],
        amount,
        value=FEE,
    )


def recover(lab: Lab, place: Place) -> None:
    lab.act(
        DAVE,
        "recoverAllFunds",
        lab.token.address,
        ALICE.address,
        [ZERO_HASH, ZERO_HASH],
        place.path.trail,
        place.path.hashes,
        place.membership,
        place.path.values,
        place.lr,
        [0, *place.passive_mark],
    )


@pytest.mark.parametrize("deposited", [8, 0], ids=["covered by a deposit", "covered by void transfers"])
def test_request_beyond_the_final_allotment(lab: Lab, deposited: int) -> None:
    """Alice had 10 and spent 8 on the commit-chain. Before the checkpoint that says so she requests all 10, which
    is in order since she got 8 again, on the parent chain or on the commit-chain. Then the operator falls silent:
    the request must not be paid on top of what the halted chain pays her."""
    past = lab.checkpoint(4)
    lab.submit(past.root)
    lab.to(NOW)
    final = lab.checkpoint(4, token=(Entry(ALICE.raw, 2 * COIN), PLAIN[1]))
    lab.submit(final.root)
    before = lab.token.read("balanceOf", ALICE.address)
    if deposited:
        lab.act(ALICE, "deposit", lab.token.address, ALICE.address, deposited * COIN)
    request(lab, past.places[1][0], PLAIN[0].width)
    lab.to(NOW + 1)
    lab.submit(lab.checkpoint(4).root)
    lab.to(NOW + 2, EXTENDED_EPOCH)
    lab.act(DAVE, "confirmWithdrawal", lab.token.address, ALICE.address)
    lab.to(NOW + 3)
    recover(lab, final.places[1][0])
    gained = lab.token.read("balanceOf", ALICE.address) - before
    assert gained <= 2 * COIN
    assert PAST + 1 == NOW


def test_request_is_paid_once_the_current_checkpoint_is_in(lab: Lab) -> None:
    past = lab.checkpoint(4)
    lab.submit(past.root)
    lab.to(NOW)
    lab.submit(lab.checkpoint(4).root)
    request(lab, past.places[1][0], COIN)
    lab.to(NOW + 1)
    lab.submit(lab.checkpoint(4).root)
    lab.to(NOW + 2)
    lab.submit(lab.checkpoint(4).root)
    before = lab.token.read("balanceOf", ALICE.address)
    lab.to(NOW + 2, EXTENDED_EPOCH - 1)
    lab.act(DAVE, "confirmWithdrawal", lab.token.address, ALICE.address)
    assert lab.token.read("balanceOf", ALICE.address) == before
    lab.act(DAVE, "confirmWithdrawal", lab.token.address, ALICE.address)
    assert lab.token.read("balanceOf", ALICE.address) == before + COIN
