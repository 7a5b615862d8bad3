"""``python -m nocust recover BUNDLE --node URL``: take a wallet's money out of a halted commit-chain."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nocust import ethereum
from nocust.addresses import to_checksum
from nocust.encoding import hex_to_bytes, u256
from nocust.errors import NocustError
from nocust.ethereum import NodeAnswerError
from nocust.recovery import Bundle, Way, read_bundle, selector

EONS_KEPT = 5
GAS_MARGIN_PERCENT = 125
MINED_SECONDS = 300
PAID, REFUSED, UNUSABLE = 0, 1, 2
"""Exit codes: done or printed; the contract or the node does not let it; the bundle or the key cannot be used."""

Say = Callable[[str], object]


class UnusableError(Exception):
    """The bundle or the key cannot be used."""


class RefusedError(Exception):
    """The contract does not pay now."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("bundle", help="file with the recovery bundle, - for standard input")
    parser.add_argument("--node", metavar="URL", help="JSON-RPC of an Ethereum node")
    parser.add_argument(
        "--print", action="store_true", dest="only_print", help="print the calls, send nothing"
    )
    parser.add_argument(
        "--keystore",
        type=Path,
        metavar="FILE",
        help="encrypted key (version 3) of the account that pays for gas; without it the key is asked for",
    )
    parser.add_argument("--gas-price", type=int, metavar="WEI", help="default: what the node suggests")


def run(options: argparse.Namespace, say: Say) -> int:
    """Run the command; returns the exit code. `say` prints a line."""
    try:
        bundle = load(options.bundle)
        if options.only_print and options.node is None:
            print_calls(bundle, say)
        elif options.node is None:
            raise UnusableError("name a node with --node, or print the calls with --print")
        else:
            recover(bundle, ethereum.Node(options.node), options, say)
    except (UnusableError, NocustError) as error:
        say(f"This can't be used: {error}")
        return UNUSABLE
    except (RefusedError, NodeAnswerError) as error:
        say(f"Nothing was recovered: {error}")
        return REFUSED
    return PAID


def load(name: str) -> Bundle:
    """The bundle in a file, or from standard input for `-`, checked. Raises UnusableError, InvalidBundle."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return read_bundle(json.loads(text))
    except (OSError, UnicodeError, ValueError, RecursionError) as error:
        if isinstance(error, NocustError):
            raise
        raise UnusableError(f"{name}: {error}") from error


def print_calls(bundle: Bundle, say: Say) -> None:
    """All calls of the bundle; which one fits depends on the contract's lastSubmissionEon()."""
    say(
        f"To recover the funds of {to_checksum(bundle.wallet)} send to {to_checksum(bundle.contract)}, value 0:"
    )
    for way in bundle.ways:
        say(
            f"while lastSubmissionEon() is {way.last_submission_eon}: recoverAllFunds, {way.allotment} and more"
        )
        say(_hex(way.calldata))
    say("whatever it is: recoverOnlyParentChainFunds, what no final checkpoint knows yet")
    say(_hex(bundle.parent_chain_calldata))


def recover(bundle: Bundle, node: ethereum.Node, options: argparse.Namespace, say: Say) -> None:
    """Check the contract's state, choose the call, send it and wait for the payment, or only print it."""
    chain_id = node.number("eth_chainId")
    if chain_id != bundle.chain_id:
        raise UnusableError(f"the bundle is for chain {bundle.chain_id}, the node is on chain {chain_id}")
    last = _word(node, bundle.contract, "lastSubmissionEon", "")
    way = choose(bundle, last, node)
    data = bundle.parent_chain_calldata if way is None else way.calldata
    if way is None and not bundle.is_of(last):
        say(
            "The bundle is older than the final checkpoint, which may know more of the wallet: get a newer one."
        )
        say("Without it only what the parent chain knows can be recovered.")
    elif way is None:
        say("The wallet is in no final checkpoint: only what the parent chain knows can be recovered.")
    else:
        say(
            f"Checkpoint {way.proof.eon} is final and allots {way.allotment} to {to_checksum(bundle.wallet)}."
        )
    if options.only_print:
        say(f"Send to {to_checksum(bundle.contract)}, value 0:")
        say(_hex(data))
        return
    if not _flag(node, bundle.contract, "hasMissedCheckpointSubmission") and not _flag(
        node, bundle.contract, "hasOutstandingChallenges"
    ):
        raise RefusedError("the contract is not halted; withdraw instead")
    amount = int.from_bytes(node.call(bundle.contract, data)[:32], "big")
    say(f"The contract will pay {amount} of {to_checksum(bundle.token)} to {to_checksum(bundle.wallet)}.")
    if amount == 0:
        raise RefusedError("nothing is left to recover")
    txid = send(bundle, data, node, read_key(options.keystore), chain_id, options.gas_price)
    say(f"Sent {_hex(txid)}; waiting for it to be mined.")
    wait(node, txid)
    say(f"Recovered {amount}.")


def choose(bundle: Bundle, last: int, node: ethereum.Node) -> Way | None:
    """The way that fits the contract's state, whose newest checkpoint is `last`; None for a wallet that is in no
    final checkpoint, as far as the bundle knows, or has used it."""
    arguments = bytes(12) + bundle.token + bytes(12) + bundle.wallet
    if _word(node, bundle.contract, "getIsWalletRecovered", "address,address", arguments):
        return None
    way = bundle.way(last)
    if way is None:
        if bundle.ways and not bundle.is_of(last):
            known = " or ".join(str(known.last_submission_eon) for known in bundle.ways)
            raise UnusableError(
                f"the bundle is for checkpoint {known}, the contract's newest is {last}: get a newer bundle"
            )
        return None
    data = selector("getCheckpointAtSlot", "uint8") + u256(way.proof.eon % EONS_KEPT)
    if node.call(bundle.contract, data)[32:64] != way.root:
        raise UnusableError(f"the contract holds another checkpoint {way.proof.eon} than the bundle")
    return way


def send(
    bundle: Bundle, data: bytes, node: ethereum.Node, key: bytes, chain_id: int, gas_price: int | None
) -> bytes:
    """Sign and send the call from the key's account; the transaction's hash."""
    sender = ethereum.address_of(key)
    call = {"from": _hex(sender), "to": _hex(bundle.contract), "data": _hex(data)}
    raw, txid = ethereum.transaction(
        key,
        chain_id=chain_id,
        nonce=node.number("eth_getTransactionCount", _hex(sender), "pending"),
        gas_price=gas_price or node.number("eth_gasPrice") * GAS_MARGIN_PERCENT // 100,
        gas=node.number("eth_estimateGas", call) * GAS_MARGIN_PERCENT // 100,
        to=bundle.contract,
        data=data,
    )
    node.ask("eth_sendRawTransaction", _hex(raw))
    return txid


def wait(node: ethereum.Node, txid: bytes) -> None:
    """Return once the transaction is mined and succeeded. Raises RefusedError."""
    deadline = time.monotonic() + MINED_SECONDS
    while time.monotonic() < deadline:
        receipt = node.ask("eth_getTransactionReceipt", _hex(txid))
        if receipt is not None:
            if int(receipt["status"], 16) != 1:
                raise RefusedError("the transaction was mined, but the contract refused it")
            return
        time.sleep(0.5)
    raise RefusedError(f"{_hex(txid)} is not mined yet; look for it before you send another one")


def read_key(keystore: Path | None) -> bytes:
    """The private key of the account that pays for gas: from an encrypted file, or asked for without an echo."""
    if keystore is None:
        text = getpass.getpass("Private key of the account that pays for gas (hidden): ")
        try:
            return hex_to_bytes(text.strip(), 32)
        except NocustError:
            raise UnusableError("a private key has 64 hexadecimal digits") from None
    try:
        from eth_account import Account
    except ImportError:
        raise UnusableError("reading a keystore needs the package eth-account") from None
    try:
        return bytes(Account.decrypt(keystore.read_text(encoding="utf-8"), getpass.getpass("Password: ")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableError(f"{keystore}: {error}") from None


def _word(node: ethereum.Node, contract: bytes, name: str, types: str, arguments: bytes = b"") -> int:
    answer = node.call(contract, selector(name, types) + arguments)
    if len(answer) < 32:
        raise UnusableError(f"{to_checksum(contract)} is no commit-chain on this node's chain")
    return int.from_bytes(answer[:32], "big")


def _flag(node: ethereum.Node, contract: bytes, name: str) -> bool:
    return _word(node, contract, name, "") != 0


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
