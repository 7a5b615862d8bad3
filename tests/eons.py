"""Going on to the next eon of a development node without waiting for its blocks."""

from __future__ import annotations

from typing import Any

from web3 import Web3

from operator_api.simulation.traffic import Traffic

SUBMITTED_SECONDS = 120.0


def next_eon(web3: Web3, contract: Any) -> int:
    """Have the blocks mined that are missing to the next eon, once the latest one's checkpoint is on chain: the
    contract halts after an eon without one. Gives the new eon. Raises TrafficError."""
    latest, submitted = contract.functions.currentEon, contract.functions.lastSubmissionEon
    Traffic.wait("the checkpoint", lambda: submitted().call() >= latest().call(), SUBMITTED_SECONDS)
    length = int(contract.functions.BLOCKS_PER_EON().call())
    past = web3.eth.block_number - int(contract.functions.genesis().call())
    answer = web3.provider.make_request("anvil_mine", [hex(length - past % length)])  # type: ignore[arg-type]
    assert "error" not in answer, answer
    return int(latest().call())
