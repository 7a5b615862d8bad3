"""Construction, time, tokens, deposits, checkpoints, fees."""

from __future__ import annotations

import pytest

from contracts.tests.bound import Bound, Refused, refuses, submit
from contracts.tests.game import FEE, Game
from contracts.tests.people import ALICE, BOB, CAROL, MALLORY, OPERATOR
from contracts.tests.rpc import Node
from nocust.accumulator import accumulate

ROOT = b"\x11" * 32


def basis(chain: Bound, eon: int) -> bytes:
    found: bytes = chain.read("getParentChainAccumulatorAtSlot", (eon - 1) % 5)
    return found


def test_constants(chain: Bound, node: Node) -> None:
    names = ["BLOCKS_PER_EON", "BLOCKS_PER_EPOCH", "EXTENDED_BLOCKS_PER_EPOCH", "EONS_KEPT", "DEPOSITS_KEPT"]
    assert [chain.read(name) for name in names] == [60, 15, 20, 5, 3]
    assert chain.read("MIN_CHALLENGE_GAS_COST") == 5 * 10**9
    assert chain.read("operator") == OPERATOR.address
    created = int(node.rpc("eth_getTransactionByBlockNumberAndIndex", "0x7", "0x0")["blockNumber"], 16)
    assert chain.read("genesis") == created


@pytest.mark.parametrize(
    ("blocks", "operator"), [(11, OPERATOR.raw), (0, OPERATOR.raw), (2**32, OPERATOR.raw)]
)
def test_construction_refuses_useless_parameters(node: Node, blocks: int, operator: bytes) -> None:
    with refuses("c"):
        Bound.create(node, "NOCUSTCommitChain", (blocks, operator), OPERATOR.address)


def test_construction_refuses_nobody(node: Node) -> None:
    with refuses("c"):
        Bound.create(node, "NOCUSTCommitChain", (60, bytes(20)), OPERATOR.address)


def test_time(game: Game) -> None:
    assert (game.chain.read("currentEon"), game.chain.read("currentEra")) == (game.eon, game.era)
    for place in ((1, 59), (2, 0), (2, 59), (3, 0), (7, 31)):
        game.goto(*place)
        assert (game.chain.read("currentEon"), game.chain.read("currentEra")) == place


def test_registration(chain: Bound, token: Bound, node: Node) -> None:
    assert chain.read("getTokenTrail", chain.raw) == 0
    assert chain.read("getTokenAtTrail", 0) == chain.address.lower()
    with refuses("t"):
        chain.read("getTokenTrail", token.raw)
    with refuses("t"):
        chain.read("getTokenAtTrail", 1)
    done = chain.send("registerERC20", token.raw, sender=OPERATOR.address)
    assert done.events == [("TokenRegistered", (token.address.lower(), 1))]
    other = Bound.create(node, "SilentToken", (), OPERATOR.address)
    chain.send("registerERC20", other.raw, sender=OPERATOR.address)
    assert [chain.read("getTokenTrail", t.raw) for t in (token, other)] == [1, 2]
    assert chain.read("getTokenAtTrail", 2) == other.address.lower()


def test_registration_refusals(chain: Bound, token: Bound) -> None:
    with refuses("o"):
        chain.send("registerERC20", token.raw, sender=ALICE.address)
    chain.send("registerERC20", token.raw, sender=OPERATOR.address)
    for again in (token.raw, chain.raw):  # the latter is ether (W7)
        with refuses("k"):
            chain.send("registerERC20", again, sender=OPERATOR.address)


def test_what_is_no_token_cannot_be_deposited(chain: Bound) -> None:
    chain.send("registerERC20", ALICE.raw, sender=OPERATOR.address)
    with refuses("f"):
        chain.send("deposit", ALICE.raw, BOB.raw, 5, sender=BOB.address)


def test_deposits_of_ether(game: Game) -> None:
    chain = game.chain
    done = chain.send("deposit", chain.raw, BOB.raw, 999, sender=ALICE.address, value=7)
    assert done.events == [("Deposit", (chain.address.lower(), BOB.address, 7))]
    chain.send("deposit", chain.raw, BOB.raw, 0, sender=ALICE.address, value=5)
    chain.send("deposit", chain.raw, ALICE.raw, 0, sender=ALICE.address, value=0)
    assert chain.read("getDepositsAtEon", chain.raw, BOB.raw, 1) == 12
    assert chain.read("getDepositsAtEon", chain.raw, BOB.raw, 2) == 0
    assert chain.read("getDepositsAtSlot", chain.raw, 1) == (1, 12)
    assert chain.read("getWalletDepositAggregateAtSlot", chain.raw, BOB.raw, 1) == (1, 12)
    assert chain.read("getServerContractLedgerStateVariables", 1, chain.raw) == (0, 0, 12, 12)
    assert chain.read("getServerContractLedgerStateVariables", 6, chain.raw) == (0, 0, 0, 12)
    expected = bytes(32)
    for person, value in ((BOB, 7), (BOB, 5), (ALICE, 0)):
        expected = accumulate(expected, 1, chain.raw, person.raw, 0, value)
    assert chain.read("getParentChainAccumulatorAtSlot", 1) == expected


def test_deposits_of_tokens(game: Game, token: Bound) -> None:
    chain = game.chain
    token.send("transfer", ALICE.raw, 1000, sender=OPERATOR.address)
    with refuses("t"):
        chain.send("deposit", token.raw, ALICE.raw, 10, sender=ALICE.address)
    chain.send("registerERC20", token.raw, sender=OPERATOR.address)
    with refuses("f"):
        chain.send("deposit", token.raw, ALICE.raw, 10, sender=ALICE.address)
    token.send("approve", chain.raw, 500, sender=ALICE.address)
    with refuses("m"):
        chain.send("deposit", token.raw, ALICE.raw, 10, sender=ALICE.address, value=1)
    done = chain.send("deposit", token.raw, BOB.raw, 10, sender=ALICE.address)
    assert done.events == [("Deposit", (token.address.lower(), BOB.address, 10))]
    assert token.read("balanceOf", chain.raw) == 10
    assert chain.read("getDepositsAtEon", token.raw, BOB.raw, 1) == 10


def test_amounts_beyond_the_representation_are_refused(game: Game, node: Node) -> None:
    chain = game.chain
    big = Bound.create(node, "TestToken", ("BIG", "BIG", 0, 2**200), OPERATOR.address)
    chain.send("registerERC20", big.raw, sender=OPERATOR.address)
    big.send("approve", chain.raw, 2**256 - 1, sender=OPERATOR.address)
    chain.send("deposit", big.raw, ALICE.raw, 2**112 - 1, sender=OPERATOR.address)
    with refuses("+"):
        chain.send("deposit", big.raw, ALICE.raw, 1, sender=OPERATOR.address)
    assert chain.read("getDepositsAtEon", big.raw, ALICE.raw, 1) == 2**112 - 1


def test_bare_ether_is_told_and_credited_to_nobody(game: Game) -> None:
    chain = game.chain
    stipend = 21_000 + 2_300
    submit(game.node, {"from": ALICE.address, "to": chain.address, "value": "0x5", "gas": hex(stipend)})
    assert game.node.balance(chain.address) == 5
    assert chain.read("getDepositsAtSlot", chain.raw, 1) == (0, 0)


def test_checkpoints(game: Game) -> None:
    chain = game.chain
    assert chain.read("getServerContractStateVariables") == (bytes(32), 0, bytes(32), False, False, 0)
    done = chain.send("submitCheckpoint", bytes(32), ROOT, sender=OPERATOR.address)
    assert done.events == [("CheckpointSubmission", (1, ROOT))]
    assert chain.read("lastSubmissionEon") == 1
    assert chain.read("getCheckpointAtSlot", 1) == (1, ROOT, 0)
    assert chain.read("getServerContractStateVariables") == (bytes(32), 1, ROOT, True, False, 0)
    with refuses("d"):
        chain.send("submitCheckpoint", bytes(32), ROOT, sender=OPERATOR.address)
    for eon in range(2, 9):
        game.goto(eon, 3)
        assert not chain.read("getServerContractStateVariables")[3]
        chain.send("submitCheckpoint", bytes(32), bytes([eon]) * 32, sender=OPERATOR.address)
    assert [chain.read("getCheckpointAtSlot", slot)[0] for slot in range(5)] == [5, 6, 7, 8, 4]
    with pytest.raises(Refused):
        chain.read("getCheckpointAtSlot", 5)


def test_checkpoint_refusals(game: Game) -> None:
    chain = game.chain
    with refuses("o"):
        chain.send("submitCheckpoint", bytes(32), ROOT, sender=ALICE.address)
    with refuses("b"):
        chain.send("submitCheckpoint", b"\1" * 32, ROOT, sender=OPERATOR.address)
    game.deposit(ALICE, 1)
    chain.send("submitCheckpoint", bytes(32), ROOT, sender=OPERATOR.address)
    game.goto(2, 1)
    with refuses("b"):  # Alice's deposit was not seen
        chain.send("submitCheckpoint", bytes(32), ROOT, sender=OPERATOR.address)
    chain.send("submitCheckpoint", basis(chain, 2), ROOT, sender=OPERATOR.address)


def test_a_late_checkpoint_is_refused(game: Game) -> None:
    """W13: nobody may be left without time to dispute. The last eighth of an eon is closed, except in eon 1."""
    chain = game.chain
    game.goto(1, 59)
    chain.send("submitCheckpoint", bytes(32), ROOT, sender=OPERATOR.address)
    game.goto(2, 53)
    with refuses("w"):
        chain.send("submitCheckpoint", bytes(32), ROOT, sender=OPERATOR.address)
    game.goto(3, 0)
    assert not chain.read("hasOutstandingChallenges")


def test_the_last_moment_for_a_checkpoint(game: Game) -> None:
    game.pass_eons(1)
    game.goto(2, 52)
    game.checkpoint()


def test_a_missed_checkpoint_halts_for_ever(game: Game) -> None:
    chain = game.chain
    game.pass_eons(1)
    game.goto(2, 59)
    assert not chain.read("hasMissedCheckpointSubmission")
    game.goto(3, 0)
    assert chain.read("hasMissedCheckpointSubmission")
    for eon in (3, 4):
        game.goto(eon, 5)
        with refuses("p"):
            chain.send("submitCheckpoint", basis(chain, eon), ROOT, sender=OPERATOR.address)
        with refuses("p"):
            game.deposit(ALICE, 1)
        with refuses("p"):
            chain.send("confirmWithdrawal", chain.raw, ALICE.raw, sender=ALICE.address)


def test_the_first_checkpoint_belongs_into_eon_one(game: Game) -> None:
    game.goto(2, 0)
    assert game.chain.read("hasMissedCheckpointSubmission")


def test_client_summary_in_early_eons_and_after_gaps(game: Game) -> None:
    """W15: the summary works whatever was or was not submitted."""
    chain = game.chain
    empty = ([bytes(32)] * 5, [0] * 5)
    for eon in (1, 2, 3, 9):
        game.goto(eon, 5)
        found = chain.read("getClientContractStateVariables", chain.raw, MALLORY.raw)
        assert (list(found[1]), list(found[2])) == empty
        assert found[0] == 0
        assert found[3:6] == (0, 0, 0)
        assert found[7] == game.node.balance(MALLORY.address)


def test_client_summary(funded: Game) -> None:
    chain = funded.chain
    funded.deposit(ALICE, 4)
    found = chain.read("getClientContractStateVariables", chain.raw, ALICE.raw)
    roots = [funded.roots[2], funded.roots[1], bytes(32), bytes(32), bytes(32)]
    assert (found[0], list(found[1])) == (2, roots)
    assert found[3:6] == (4, 10**17, 0)
    assert found[6] == ()


def test_fees_are_kept_apart_and_claimed(funded: Game) -> None:
    """W9: nothing is pushed to the operator; what wallets own never includes what he earned."""
    game, chain = funded, funded.chain
    game.pass_eons(3)
    pool = chain.read("getServerContractLedgerStateVariables", 3, chain.raw)[3]
    assert chain.read("getFees") == (0, 0)
    assert chain.send("claimFees", sender=MALLORY.address).events == []
    game.withdraw(ALICE, 10**15, value=FEE + 12)
    assert chain.read("getFees") == (0, FEE)
    assert chain.read("getServerContractLedgerStateVariables", 3, chain.raw)[3] == pool
    before = game.node.balance(OPERATOR.address)
    chain.send("claimFees", sender=MALLORY.address)
    assert game.node.balance(OPERATOR.address) - before == FEE - 1
    assert chain.read("getFees") == (0, 1)
    assert game.node.balance(chain.address) == pool + 1


def test_an_operator_that_refuses_ether_disarms_nobody(funded: Game) -> None:
    """W9."""
    game, chain = funded, funded.chain
    game.pass_eons(3)
    game.node.rpc("anvil_setCode", OPERATOR.address, "0x60006000fd")
    game.withdraw(ALICE, 10**15)
    game.goto(4, 20)
    game.challenge_state(BOB)
    with refuses("f"):
        chain.send("claimFees", sender=CAROL.address)
    assert chain.read("getFees")[1] >= FEE
