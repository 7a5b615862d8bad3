"""The recovery bundle: its shape, and that whoever checks it finds what the ledger holds."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from auditor import serializers
from auditor.tests.test_shapes import assert_shape
from contractor.models import ContractParameters, ContractState
from ledger.models import ExclusiveBalanceAllotment
from nocust.addresses import to_checksum
from nocust.recovery import InvalidBundle, read_bundle
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    made = Play()
    ContractParameters.objects.create(
        id=1,
        chain_id=1337,
        contract=settings.HUB_LQD_CONTRACT_ADDRESS,
        operator=settings.HUB_OWNER_ACCOUNT_ADDRESS,
        genesis_block=0,
        genesis_hash=bytes(32),
        blocks_per_eon=60,
        blocks_per_epoch=15,
        extended_blocks_per_epoch=20,
        eons_kept=5,
        deposits_kept=3,
        challenge_cost=1,
    )
    return made


@pytest.fixture
def pair(play: Play) -> list[SimulatedWallet]:
    """Two wallets after three eons in which the first paid the second."""
    alice, bob = play.register(2)
    play.deposit(alice, 1000)
    for amount in (1, 2, 3):
        play.pay(alice, bob, amount)
        play.next_eon()
    return [alice, bob]


def submitted(eon: int) -> None:
    """The head was read when the contract's newest checkpoint was that of the eon."""
    ContractState.objects.create(
        block=eon * 60,
        block_hash=bytes([eon]) * 32,
        parent_hash=bytes(32),
        timestamp=0,
        logs_possible=False,
        last_checkpoint_submission_eon=eon,
    )


def fetch(player: SimulatedWallet, status: int = 200) -> Any:
    place = f"{to_checksum(player.token)}/{to_checksum(player.address)}"
    response = APIClient().get(f"/audit/{place}/recovery")
    assert response.status_code == status, response.content
    return response.json()


def test_it_offers_the_checkpoints_that_may_be_final_when_it_is_needed(
    play: Play, pair: list[SimulatedWallet]
) -> None:
    for last, expected in ((0, []), (1, []), (2, [2]), (3, [2, 3]), (4, [3, 4])):
        if last:
            submitted(last)
        document = fetch(pair[0])
        assert_shape(document, serializers.RecoveryBundleSerializer())
        bundle = read_bundle(document)
        assert [way.proof.eon for way in bundle.ways] == expected
        assert [way.last_submission_eon for way in bundle.ways] == [eon + 1 for eon in expected]
        for way in bundle.ways:
            row = ExclusiveBalanceAllotment.objects.get(wallet=pair[0].wallet_id, eon_number=way.proof.eon)
            assert way.allotment == row.right - row.left > 0


def test_an_address_without_wallet_gets_what_the_parent_chain_knows(play: Play) -> None:
    stranger = SimulatedWallet.create(play.contract, play.tokens[0].address)
    document = fetch(stranger)
    assert (document["trail_identifier"], document["ways"]) == (None, [])
    assert_shape(document, serializers.RecoveryBundleSerializer())
    assert read_bundle(document).wallet == stranger.address
    unknown = SimulatedWallet.create(play.contract, b"\7" * 20)
    fetch(unknown, 404)


def test_a_hub_that_has_not_read_the_contract_says_so(play: Play) -> None:
    ContractParameters.objects.all().delete()
    fetch(SimulatedWallet.create(play.contract, play.tokens[0].address), 503)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("wallet",), "0x" + "11" * 20),
        (("wallet",), "0x11"),
        (("token_trail",), True),
        (("chain_id",), None),
        (("ways",), {}),
        (("parent_chain", "calldata"), "0x00"),
        (("parent_chain", "calldata"), "00"),
        (("ways", 0, "merkle_root"), "0x" + "00" * 32),
        (("ways", 0, "merkle_root"), 7),
        (("ways", 0, "last_submission_eon"), 9),
        (("ways", 0, "calldata"), "0x" + "00" * 900),
        (("ways", 0, "merkle_proof", "right"), "1000000"),
        (("ways", 0, "merkle_proof", "left"), "-1"),
        (("ways", 0, "merkle_proof", "trail"), 2),
        (("ways", 0, "merkle_proof", "values"), ["1", "x"]),
        (("ways", 0, "merkle_proof", "allotment_chain"), []),
    ],
)
def test_a_bundle_that_somebody_changed_is_refused(
    play: Play, pair: list[SimulatedWallet], path: tuple[Any, ...], value: object
) -> None:
    submitted(3)
    document = fetch(pair[0])
    read_bundle(document)
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(InvalidBundle):
        read_bundle(changed)
    if isinstance(inner, dict):
        del inner[path[-1]]
        with pytest.raises(InvalidBundle):
            read_bundle(changed)


@pytest.mark.parametrize("document", [None, [], "text", 7, {}])
def test_what_is_no_bundle_is_refused(document: object) -> None:
    with pytest.raises(InvalidBundle):
        read_bundle(document)
