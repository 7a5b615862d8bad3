"""How fast the hub reads the blocks it missed: `python -m benchmarks.catch_up --blocks 100000`.

A node of its own gets the contract with eons as long as in production, some deposits spread over the blocks, and is
read from the first block to the last, into a database of its own. Mining the blocks takes some minutes, which are
not part of the figures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.common import conditions, ledger_database, report

BLOCKS_PER_EON = 8640
DEPOSITS = 500
CHUNK = 1000
"""Blocks mined in one request."""


@contextmanager
def node() -> Iterator[str]:
    """The URL of a node that mines when told to, with the contract on it."""
    from scripts.hub.node import binary
    from scripts.hub.ports import free_ports

    (port,) = free_ports(1)
    command = [str(binary()), "--port", str(port), "--chain-id", "1337", "--hardfork", "osaka", "--silent"]
    command += [
        "--mnemonic",
        "myth like bonus scare over problem client lizard pioneer submit female collect",
    ]
    command += ["--gas-limit", "30000000", "--base-fee", "0", "--gas-price", "0", "--prune-history"]
    with subprocess.Popen(command) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def populate(url: str, blocks: int) -> None:
    """Deploy the contract and mine `blocks` blocks with deposits for the operator in them."""
    from web3 import HTTPProvider, Web3
    from web3.types import Wei

    import contracts
    from contracts.deploy import deploy_development

    web3 = Web3(HTTPProvider(url, request_kwargs={"timeout": 120}))
    deadline = time.monotonic() + 10
    while not web3.is_connected():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the node at {url} does not answer")
        time.sleep(0.05)
    made = deploy_development(web3, blocks_per_eon=BLOCKS_PER_EON)
    contract = web3.eth.contract(address=made.contract, abi=contracts.load("NOCUSTCommitChain").abi)
    web3.provider.make_request("evm_setAutomine", [False])  # type: ignore[arg-type]
    depositor = list(web3.eth.accounts)[1]
    chunks = -(-blocks // CHUNK)
    for chunk in range(chunks):
        deposits = (chunk + 1) * DEPOSITS // chunks - chunk * DEPOSITS // chunks
        for _ in range(deposits):
            call = contract.functions.deposit(made.contract, depositor, 7)
            call.transact({"from": depositor, "value": Wei(7), "gas": 400_000, "gasPrice": Wei(10**9)})
        count = min(CHUNK, blocks - chunk * CHUNK)
        web3.provider.make_request("anvil_mine", [hex(count)])  # type: ignore[arg-type]


def measure(url: str) -> dict[str, Any]:
    """Read everything, as the chain worker does."""
    from django.conf import settings

    from contractor import checkpoints, follower
    from contractor.chain import chain
    from contractor.tokens import register_token
    from ledger.models import ChainStatus, Deposit

    settings.HUB_ETHEREUM_NODE_URL = url
    follower.start(chain())
    register_token(settings.HUB_LQD_CONTRACT_ADDRESS, "Ethereum", "ETH")
    checkpoints.create_due_checkpoint()
    head = chain().node.head().number
    begun = time.monotonic()
    first = ChainStatus.objects.get().head_block
    while ChainStatus.objects.get().head_block < head:
        follower.run()
    seconds = time.monotonic() - begun
    status = ChainStatus.objects.get()
    return {
        "blocks": status.head_block - first,
        "eons": status.eon,
        "deposits": Deposit.objects.count(),
        "seconds": round(seconds, 2),
        "blocks_per_second": round((status.head_block - first) / seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    blocks = parser.parse_args().blocks
    with node() as url, ledger_database():
        start = conditions()
        begun = time.monotonic()
        populate(url, blocks)
        print(f"{blocks} blocks mined in {time.monotonic() - begun:.0f} s", file=sys.stderr)
        report("catch_up", start, measure(url))


if __name__ == "__main__":
    main()
