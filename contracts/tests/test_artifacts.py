"""The committed artifacts: rebuilt byte for byte, complete, small enough, and what the stock client expects."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import contracts
from contracts import build

OPERATOR_SIDE = {
    "submitCheckpoint(bytes32,bytes32)",
    "slashWithdrawalWithProofOfMinimumAvailableBalance(address,address,uint256[2],bytes32[2],uint8)",
    "answerStateUpdateChallenge(address,address,bytes32[],bytes32[],uint256[],uint256[2][3],bytes32[6],uint8[2])",
    "answerTransferDeliveryChallengeWithProofOfActiveStateUpdateAgreement(address,address[2],uint64,bytes32[],"
    "bytes32[],uint256[],uint256[2][3],bytes32[2],bytes32[])",
    "answerTransferDeliveryChallengeWithProofOfPassiveStateUpdate(address,address[2],uint64,bytes32[],bytes32[],"
    "uint256[],uint256[2][3],bytes32[2],bytes32[])",
    "answerSwapChallengeWithProofOfExclusiveBalanceAllotment(address[2],address,uint64,bytes32[],bytes32[],"
    "bytes32[],uint256[],uint256[2][3],uint256,bytes32[3])",
    "getParentChainAccumulatorAtSlot(uint8)",
}
ADDED = {"batch(bytes[])", "claimFees()", "getFees()", "getChallengeOf(address,address,address,bool)"} | {
    "reclaimChallengeFee(address,address,address,bool)"
}
ADDED_EVENTS = {
    "ChallengeAnswered",
    "EtherReceived",
    "FundsRecovered",
    "TokenRegistered",
    "WithdrawalSlashed",
}


def signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(i['type'] for i in entry['inputs'])})"


def shape(entry: dict[str, Any]) -> tuple[Any, ...]:
    """All that callers depend on: names, types, what is indexed, whether ether is accepted."""

    def fields(side: str) -> list[Any]:
        return [(i["name"], i["type"], i.get("indexed", False)) for i in entry.get(side, [])]

    mutability = entry.get("stateMutability") if entry["type"] == "function" else None
    return entry["type"], entry["name"], fields("inputs"), fields("outputs"), mutability


def client_abi() -> list[dict[str, Any]]:
    """The ABI that the stock client ships."""
    module = build.npm_dir() / "node_modules" / "nocust-client" / "dist" / "helpers" / "nocustAbi.js"
    script = "process.stdout.write(JSON.stringify(require(process.argv[1]).NOCUST_ABI))"
    done = subprocess.run(["node", "-e", script, str(module.resolve())], capture_output=True, check=True)
    parsed: list[dict[str, Any]] = json.loads(done.stdout)
    return parsed


def test_artifacts_are_what_the_sources_compile_to() -> None:
    assert build.stale(build.compile_all()) == []


def test_abi_against_the_stock_client() -> None:
    ours = {
        signature(e): e for e in contracts.load("NOCUSTCommitChain").abi if e["type"] in ("function", "event")
    }
    theirs = {signature(e): e for e in client_abi() if e["type"] in ("function", "event")}
    renamed = "getWalletDepositActiveStateAtSlot(address,address,uint8)"
    original = theirs.pop(renamed)
    theirs["getWalletDepositAggregateAtSlot(address,address,uint8)"] = {
        **original,
        "name": "getWalletDepositAggregateAtSlot",
    }
    for name, entry in theirs.items():
        assert shape(ours[name]) == shape(entry), name
    functions = {name for name, entry in ours.items() if entry["type"] == "function"}
    expected = {name for name, entry in theirs.items() if entry["type"] == "function"} | OPERATOR_SIDE
    assert functions == expected | ADDED
    assert len(expected) == 57
    events = {entry["name"] for entry in ours.values() if entry["type"] == "event"}
    assert events - ADDED_EVENTS == {entry["name"] for entry in theirs.values() if entry["type"] == "event"}
    kinds = {entry["type"] for entry in contracts.load("NOCUSTCommitChain").abi}
    assert {"constructor", "receive"} <= kinds


def test_event_topics() -> None:
    """As listed in spec/contract.md §5.5."""
    from eth_utils.abi import event_abi_to_log_topic

    topics = {
        e["name"]: event_abi_to_log_topic(e).hex()  # type: ignore[arg-type]  # entries are plain JSON
        for e in contracts.load("NOCUSTCommitChain").abi
        if e["type"] == "event"
    }
    expected = {
        "CheckpointSubmission": ("cc7a428e", "281a"),
        "Deposit": ("5548c837", "5f62"),
        "WithdrawalRequest": ("194b054f", "8ac2"),
        "WithdrawalConfirmation": ("bf4bb920", "b0ff"),
        "ChallengeIssued": ("ecf5e103", "a016"),
        "StateUpdate": ("cad82275", "e8ee"),
    }
    for name, (head, tail) in expected.items():
        assert topics[name].startswith(head)
        assert topics[name].endswith(tail)


def test_sizes() -> None:
    artifact = contracts.load("NOCUSTCommitChain")
    assert len(artifact.deployed_bytecode) < build.RUNTIME_LIMIT
    assert len(artifact.bytecode) < 2 * build.RUNTIME_LIMIT


def test_matching_code() -> None:
    artifact = contracts.load("NOCUSTCommitChain")
    code = bytearray(artifact.deployed_bytecode)
    assert artifact.immutable_references
    offset = artifact.immutable_references[0]
    code[offset : offset + 32] = b"\x11" * 32
    assert artifact.matches(bytes(code))
    code[offset - 1] ^= 1
    assert not artifact.matches(bytes(code))
    assert not artifact.matches(b"")
