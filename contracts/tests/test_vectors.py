"""The contract and the protocol's vectors agree: every hash, signature, tree and proof that it can check."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.tests.bound import Bound, refuses
from contracts.tests.people import OPERATOR, vectors
from nocust.balances import balance_inner_hash, balance_leaf

VECTORS = vectors()
ZERO = bytes(32)


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def words(text: str) -> list[bytes]:
    blob = raw(text)
    return [blob[i : i + 32] for i in range(0, len(blob), 32)]


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")] if text else []


def signature(entry: dict[str, Any]) -> tuple[bytes, bytes, int]:
    return raw(entry["r"]), raw(entry["s"]), entry["v"]


def test_the_contract_stands_where_the_vectors_expect_it(chain: Bound) -> None:
    assert chain.raw == raw(VECTORS["meta"]["contract_address"])


@pytest.mark.parametrize("entry", VECTORS["signing"])
def test_signatures(chain: Bound, entry: dict[str, Any]) -> None:
    found = chain.read("signedMessageECRECOVER", raw(entry["message"]), *signature(entry))
    assert raw(found) == raw(entry["address"])


ENCODABLE = [e for e in VECTORS["signing_invalid"] if len(e["r"]) == len(e["s"]) == 64]


@pytest.mark.parametrize("entry", ENCODABLE, ids=lambda entry: entry["case"])
def test_unusual_signatures(chain: Bound, entry: dict[str, Any]) -> None:
    found = chain.read("signedMessageECRECOVER", raw(entry["message"]), *signature(entry))
    assert (raw(found) == raw(entry["address"])) == entry["evm_ecrecover_accepts"]


@pytest.mark.parametrize("entry", VECTORS["active_state"])
@pytest.mark.parametrize("party", ["wallet", "operator"])
def test_active_states(chain: Bound, entry: dict[str, Any], party: str) -> None:
    attester = raw(entry["address"]) if party == "wallet" else OPERATOR.raw
    arguments = (
        raw(entry["token"]),
        raw(entry["address"]),
        int(entry["trail_identifier"] or 0),
        int(entry["eon"]),
        raw(entry["tx_set_root"]),
        (int(entry["spent"]), int(entry["gained"])),
    )
    signed = signature(entry[f"{party}_signature"])
    checksum = chain.read("verifyProofOfActiveStateUpdateAgreement", *arguments, attester, *signed)
    assert checksum == raw(entry["checksum"])
    with refuses("A"):
        chain.read("verifyProofOfActiveStateUpdateAgreement", *arguments, bytes(20), *signed)


@pytest.mark.parametrize("entry", VECTORS["withdrawal_authorization"])
def test_withdrawal_authorizations(chain: Bound, entry: dict[str, Any]) -> None:
    holder = raw(entry["address"])
    amounts = (int(entry["expiry_block"]), int(entry["amount"]))
    signed = signature(entry["contract_signature"])
    arguments = (raw(entry["token"]), holder, *amounts)
    assert chain.read("verifyWithdrawalAuthorization", *arguments, holder, *signed)
    assert not chain.read("verifyWithdrawalAuthorization", *arguments, OPERATOR.raw, *signed)
    other = signature(entry["reference_hub_view_signature"])
    assert not chain.read("verifyWithdrawalAuthorization", *arguments, holder, *other)


@pytest.mark.parametrize("tree", VECTORS["tx_merkle_tree"] + VECTORS["token_tree"])
def test_membership_trees(chain: Bound, tree: dict[str, Any]) -> None:
    leaves = (
        [raw(leaf) for leaf in tree["leaves"]]
        if "leaves" in tree
        else [raw(t["leaf"]) for t in tree["tokens"]]
    )
    proofs = tree["proofs"] if "leaves" in tree else tree["membership_proofs"]
    entries = proofs.items() if isinstance(proofs, dict) else enumerate(proofs)
    for index, proof in ((int(key), value) for key, value in entries):
        leaf = leaves[index] if index < len(leaves) else ZERO
        chain_words = words(proof)
        assert chain.read("verifyProofOfMembership", index, chain_words, leaf, raw(tree["root"]))
        surplus = index | 1 << len(chain_words)
        assert not chain.read("verifyProofOfMembership", surplus, chain_words, leaf, raw(tree["root"]))
        assert not chain.read("verifyProofOfMembership", index, chain_words, leaf, b"\1" * 32)


@pytest.mark.parametrize("tree", VECTORS["balance_tree"])
def test_balance_trees(chain: Bound, tree: dict[str, Any]) -> None:
    root = raw(tree["token_leaf"])
    for index, (leaf, proof) in enumerate(zip(tree["leaves"], tree["proofs"], strict=False)):
        lr = (int(leaf["left"]), int(leaf["right"]))
        arguments: tuple[Any, ...] = (
            index,
            0,
            raw(leaf["leaf_hash"]),
            root,
            words(proof["chain"]),
            [],
            numbers(proof["values"]),
        )
        total = chain.read("verifyProofOfExclusiveBalanceAllotment", *arguments, lr)
        assert total == int(tree["upper_bound"])


@pytest.mark.parametrize("tree", VECTORS["passive_delivery_tree_provable_on_chain"]["trees"])
def test_passive_trees(chain: Bound, tree: dict[str, Any]) -> None:
    for index, (entry, proof) in enumerate(zip(tree["transfers"], tree["proofs"], strict=True)):
        siblings = words(proof["chain"]) + [n.to_bytes(32, "big") for n in numbers(proof["values"])]
        leaf, root = raw(entry["transfer_checksum"]), raw(tree["root"])
        lr = (int(entry["left"]), int(entry["right"]))
        total = chain.read("verifyProofOfPassiveDelivery", index, leaf, root, siblings, lr)
        assert total == int(tree["upper_bound"])
        with refuses("n"):
            chain.read("verifyProofOfPassiveDelivery", index, ZERO, root, siblings, lr)


def test_accumulator(chain: Bound) -> None:
    """The first vector is a deposit in eon 1 on an unused accumulator: the contract comes to the same value."""
    entry = VECTORS["parent_chain_accumulator"][0]
    assert (entry["eon"], raw(entry["previous"]), entry["operation"]) == (1, ZERO, 0)
    value = int(entry["value"])
    arguments = (raw(entry["token"]), raw(entry["participant"]), value)
    chain.send("deposit", *arguments, sender=OPERATOR.address, value=value)
    assert chain.read("getParentChainAccumulatorAtSlot", 1) == raw(entry["accumulator"])


def test_whole_checkpoints(chain: Bound) -> None:
    """Every wallet's proof in the recorded runs, against the recorded roots."""
    checked = 0
    for run in VECTORS["e2e_checkpoints"]:
        for checkpoint in run["checkpoints"]:
            for token in checkpoint["tokens"]:
                for entry in token["allotments"]:
                    leaf = _leaf(chain.raw, raw(token["token"]), entry)
                    total = chain.read(
                        "verifyProofOfExclusiveBalanceAllotment",
                        entry["trail"],
                        token["trail"],
                        leaf,
                        raw(checkpoint["root"]),
                        words(entry["proof_hashes"]),
                        words(token["membership_hashes"]),
                        numbers(entry["proof_values"]),
                        (int(entry["left"]), int(entry["right"])),
                    )
                    assert total == int(token["upper_bound"])
                    checked += 1
    assert checked >= 24


def _leaf(contract: bytes, token: bytes, entry: dict[str, Any]) -> bytes:
    inner = balance_inner_hash(
        contract,
        token,
        raw(entry["wallet"]),
        raw(entry["passive_checksum"]),
        int(entry["passive_amount"]),
        int(entry["passive_marker"]),
        raw(entry["active_state_checksum"]),
    )
    return balance_leaf(int(entry["left"]), inner, int(entry["right"]))
