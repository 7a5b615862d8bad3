"""What a deployment needs to know: from options, the environment, or the person at the terminal.

The key comes from HUB_OWNER_ACCOUNT_KEY, an encrypted keystore file, or hidden input. It is no option, since
options show in the list of processes.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from eth_account import Account

from contracts.deploy_node import DeploymentRefusedError
from nocust.addresses import parse_address, to_checksum
from nocust.encoding import hex_to_bytes
from nocust.errors import NocustError
from nocust.signatures import private_key_address

SMALLEST_EON = 12
"""Fewest blocks an eon may have, by the contract's constructor."""
DEFAULT_CONFIRMATIONS = 3


@dataclass(frozen=True)
class Inputs:
    """`owner` is the operator's checksummed address, `chain_id` 0 if the person has yet to agree to the chain."""

    node_url: str
    owner: str
    key: bytes = field(repr=False)
    blocks_per_eon: int
    chain_id: int
    confirmations: int
    interactive: bool


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="deploy_contract.sh",
        description="Deploys the commit-chain contract, waits for confirmations and verifies what was deployed.",
        epilog="What is not given is taken from the environment, then asked for. The owner's key is read from"
        " HUB_OWNER_ACCOUNT_KEY, from --keystore (password from HUB_KEYSTORE_PASSWORD), or typed in unseen.",
    )
    made.add_argument("--node", metavar="URL", help="of the Ethereum node (HUB_ETHEREUM_NODE_URL)")
    made.add_argument("--owner", metavar="ADDRESS", help="of the operator (HUB_OWNER_ACCOUNT_ADDRESS)")
    made.add_argument("--keystore", metavar="FILE", help="encrypted key file, version 3 (HUB_KEYSTORE)")
    made.add_argument("--blocks-per-eon", metavar="N", help="length of an eon (HUB_BLOCKS_PER_EON)")
    made.add_argument("--chain-id", metavar="N", help="chain to deploy to (HUB_ETHEREUM_CHAIN_ID)")
    made.add_argument(
        "--confirmations",
        metavar="N",
        help=f"blocks to wait for, default {DEFAULT_CONFIRMATIONS} (HUB_LQD_CONTRACT_CONFIRMATIONS)",
    )
    return made


def gather(arguments: argparse.Namespace) -> Inputs:
    """All inputs. Raises DeploymentRefusedError for one that is missing or malformed."""
    interactive = sys.stdin.isatty()
    url = node_url(_text(arguments.node, "HUB_ETHEREUM_NODE_URL", "URL of the Ethereum node", interactive))
    owner = address(
        _text(arguments.owner, "HUB_OWNER_ACCOUNT_ADDRESS", "Address of the operator", interactive)
    )
    key = _key(arguments.keystore or os.environ.get("HUB_KEYSTORE", ""), interactive)
    if private_key_address(key) != parse_address(owner):
        raise DeploymentRefusedError(f"The key does not belong to {owner}.")
    eon = number(
        _text(arguments.blocks_per_eon, "HUB_BLOCKS_PER_EON", "Blocks per eon", interactive),
        "The number of blocks per eon",
        SMALLEST_EON,
    )
    chain = arguments.chain_id or os.environ.get("HUB_ETHEREUM_CHAIN_ID", "")
    if not chain and not interactive:
        raise DeploymentRefusedError("The chain id is missing: set HUB_ETHEREUM_CHAIN_ID.")
    waited = arguments.confirmations or os.environ.get("HUB_LQD_CONTRACT_CONFIRMATIONS", "")
    return Inputs(
        url,
        owner,
        key,
        eon,
        number(chain, "The chain id", 1) if chain else 0,
        number(waited, "The number of confirmations", 0) if waited else DEFAULT_CONFIRMATIONS,
        interactive,
    )


def _text(given: str | None, variable: str, question: str, interactive: bool) -> str:
    text = (given or os.environ.get(variable, "")).strip()
    if text:
        return text
    if not interactive:
        raise DeploymentRefusedError(f"{question} is missing: set {variable}.")
    text = ask(f"{question}: ")
    if not text:
        raise DeploymentRefusedError(f"{question} was left empty.")
    return text


def ask(question: str) -> str:
    """An answer from the terminal, echoed. The question goes to stderr, so that stdout holds results only."""
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def node_url(text: str) -> str:
    """A usable URL. Raises DeploymentRefusedError."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise DeploymentRefusedError(
            "The URL of the node must begin with http:// or https:// and name a host."
        )
    return text


def address(text: str) -> str:
    """A checksummed address; mixed letter case must be the checksum. Raises DeploymentRefusedError."""
    try:
        found = to_checksum(parse_address(text))
    except NocustError as error:
        raise DeploymentRefusedError(f"The operator's address is malformed: {error}.") from None
    digits = text.removeprefix("0x")
    if digits not in {digits.lower(), digits.upper(), found[2:]}:
        raise DeploymentRefusedError(
            f"The letter case of the operator's address {text} is not its checksum: look for a typing error."
        )
    return found


def number(text: str, what: str, minimum: int) -> int:
    """A decimal number below 2^32. Raises DeploymentRefusedError."""
    value = int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else -1
    if not minimum <= value < 2**32:
        raise DeploymentRefusedError(f"{what} must be a whole number from {minimum} to 4294967295.")
    return value


def _key(keystore: str, interactive: bool) -> bytes:
    if keystore:
        return _unlocked(Path(keystore), interactive)
    text = os.environ.get("HUB_OWNER_ACCOUNT_KEY", "").strip()
    if not text:
        if not interactive:
            raise DeploymentRefusedError(
                "The operator's key is missing: set HUB_OWNER_ACCOUNT_KEY or name a --keystore file."
            )
        text = getpass.getpass("Key of the operator, 64 hexadecimal digits (not shown): ").strip()
    return key(text)


def key(text: str) -> bytes:
    """A private key from hexadecimal digits. Raises DeploymentRefusedError, which does not repeat the text."""
    try:
        found = hex_to_bytes(text, 32)
        private_key_address(found)
    except NocustError:
        raise DeploymentRefusedError(
            "The operator's key is malformed: it is 64 hexadecimal digits, with or without 0x."
        ) from None
    return found


def _unlocked(path: Path, interactive: bool) -> bytes:
    try:
        store = json.loads(path.read_text())
        known = isinstance(store, dict) and store.get("version") == 3
    except OSError as error:
        raise DeploymentRefusedError(f"The keystore file {path} cannot be read: {error.strerror}.") from None
    except ValueError:
        known = False
    if not known:
        raise DeploymentRefusedError(f"{path} is no keystore file of version 3.")
    password = os.environ.get("HUB_KEYSTORE_PASSWORD", "")
    if not password:
        if not interactive:
            raise DeploymentRefusedError("The keystore's password is missing: set HUB_KEYSTORE_PASSWORD.")
        password = getpass.getpass(f"Password of {path.name} (not shown): ")
    try:
        return bytes(Account.decrypt(store, password))
    except (ValueError, KeyError, TypeError, NotImplementedError):
        raise DeploymentRefusedError(f"The password does not open {path}.") from None
