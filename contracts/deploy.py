"""Deploys the commit-chain and the test token to a development node.

`python -m contracts.deploy --dev` leaves the contracts at the addresses that all NOCUST tooling expects: the
operator's creations number 7 and 8 (nonces 6 and 7). An address depends on the creator and his nonce only, so the
nonces before are used up by empty transactions. Run again it finds everything in place and does nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress, Hash32
from eth_utils.address import to_checksum_address
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception
from web3.types import TxReceipt

from contracts.artifacts_loader import Artifact, load

DEV_OPERATOR_KEY = "0x4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d"
DEV_NODE_URL = "http://localhost:8545/"
DEV_BLOCKS_PER_EON = 60
DEV_TOKEN = ("LQD", "LQD", 18, 10**27)
CONTRACT_NONCE = 6
TOKEN_NONCE = 7
GAS_PRICE = 10**8  # wei; what existing tooling pays on development chains


class DeploymentError(Exception):
    """The contracts could not be deployed, or something else is where they belong."""


@dataclass(frozen=True)
class Deployment:
    """Where the contracts are, and whether this run put them there."""

    contract: ChecksumAddress
    token: ChecksumAddress
    created: bool


def creation_address(creator: ChecksumAddress, nonce: int) -> ChecksumAddress:
    """Address of the contract that `creator` makes with his transaction number `nonce` (below 128)."""
    encoded_nonce = bytes([nonce]) if nonce else b"\x80"
    payload = b"\x94" + bytes.fromhex(creator[2:]) + encoded_nonce
    return to_checksum_address(Web3.keccak(bytes([0xC0 + len(payload)]) + payload)[12:])


def contract_arguments(blocks_per_eon: int, operator: ChecksumAddress) -> bytes:
    """Encoded constructor arguments of the commit-chain."""
    return encode(["uint256", "address"], [blocks_per_eon, operator])


def token_arguments() -> bytes:
    """Encoded constructor arguments of the development token; its supply goes to the creator."""
    return encode(["string", "string", "uint8", "uint256"], list(DEV_TOKEN))


def verify(
    web3: Web3, contract: ChecksumAddress, operator: ChecksumAddress, blocks_per_eon: int | None = None
) -> None:
    """Refuses with DeploymentError unless `contract` is the commit-chain of `operator`, code and parameters."""
    if not load("NOCUSTCommitChain").matches(bytes(web3.eth.get_code(contract))):
        raise DeploymentError(f"the code at {contract} is not the commit-chain contract of this version")
    functions = web3.eth.contract(address=contract, abi=load("NOCUSTCommitChain").abi).functions
    found = functions.operator().call()
    if found != operator:
        raise DeploymentError(
            f"the contract at {contract} belongs to the operator {found}, not to {operator}"
        )
    eon = functions.BLOCKS_PER_EON().call()
    if blocks_per_eon is not None and eon != blocks_per_eon:
        raise DeploymentError(f"the contract at {contract} has {eon} blocks an eon, not {blocks_per_eon}")


def deploy_development(
    web3: Web3,
    key: str = DEV_OPERATOR_KEY,
    blocks_per_eon: int = DEV_BLOCKS_PER_EON,
    timeout: float = 60.0,
) -> Deployment:
    """Puts the commit-chain and the token in place, or finds them there. Waits at most `timeout` seconds.

    Raises DeploymentError if the account has been used for something else or a transaction fails.
    """
    account: LocalAccount = Account.from_key(key)
    contract = creation_address(account.address, CONTRACT_NONCE)
    token = creation_address(account.address, TOKEN_NONCE)
    nonce = web3.eth.get_transaction_count(account.address)
    if nonce > TOKEN_NONCE:
        _verify_both(web3, contract, token, account.address, blocks_per_eon)
        return Deployment(contract, token, created=False)
    if nonce > CONTRACT_NONCE:
        verify(web3, contract, account.address, blocks_per_eon)
    hashes = [_send(web3, account, number, blocks_per_eon) for number in range(nonce, TOKEN_NONCE + 1)]
    _await_success(web3, hashes, timeout)
    _verify_both(web3, contract, token, account.address, blocks_per_eon)
    return Deployment(contract, token, created=True)


def _verify_both(
    web3: Web3,
    contract: ChecksumAddress,
    token: ChecksumAddress,
    operator: ChecksumAddress,
    blocks_per_eon: int,
) -> None:
    verify(web3, contract, operator, blocks_per_eon)
    if not load("TestToken").matches(bytes(web3.eth.get_code(token))):
        raise DeploymentError(f"the code at {token} is not the test token of this version")


def _creation(artifact: Artifact, arguments: bytes) -> dict[str, Any]:
    # a fifth of the code deposit cost covers execution of constructors this size
    size = len(artifact.deployed_bytecode)
    return {"to": b"", "data": artifact.bytecode + arguments, "gas": 200 * size * 6 // 5 + 1_500_000}


def _send(web3: Web3, account: LocalAccount, nonce: int, blocks_per_eon: int) -> bytes:
    if nonce == CONTRACT_NONCE:
        body = _creation(load("NOCUSTCommitChain"), contract_arguments(blocks_per_eon, account.address))
    elif nonce == TOKEN_NONCE:
        body = _creation(load("TestToken"), token_arguments())
    else:
        body = {"to": account.address, "gas": 21_000}
    transaction = {**body, "value": 0, "nonce": nonce, "gasPrice": GAS_PRICE, "chainId": web3.eth.chain_id}
    try:
        return bytes(web3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction))
    except Web3Exception as error:
        raise DeploymentError(f"transaction {nonce} of {account.address} was refused: {error}") from error


def _await_success(web3: Web3, hashes: list[bytes], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for transaction in hashes:
        remaining = max(deadline - time.monotonic(), 0.1)
        try:
            receipt: TxReceipt = web3.eth.wait_for_transaction_receipt(
                Hash32(transaction), timeout=remaining, poll_latency=0.2
            )
        except Web3Exception as error:
            raise DeploymentError(f"transaction 0x{transaction.hex()} was not mined in time") from error
        if receipt["status"] != 1:
            raise DeploymentError(f"transaction 0x{transaction.hex()} failed")


def main() -> int:
    """Command line entry point; the exit status."""
    parser = argparse.ArgumentParser(
        description="Deploy the commit-chain and the test token for development."
    )
    parser.add_argument("--dev", action="store_true", required=True, help="use the development account")
    parser.add_argument("--node", default=os.environ.get("HUB_ETHEREUM_NODE_URL", DEV_NODE_URL))
    parser.add_argument("--blocks-per-eon", type=int, default=DEV_BLOCKS_PER_EON)
    arguments = parser.parse_args()
    web3 = Web3(HTTPProvider(arguments.node))
    try:
        if not web3.is_connected():
            raise DeploymentError(f"no node answers at {arguments.node}")
        done = deploy_development(web3, blocks_per_eon=arguments.blocks_per_eon)
    except DeploymentError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    state = "deployed" if done.created else "already in place"
    sys.stdout.write(f"commit-chain {done.contract} and token {done.token}: {state}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
