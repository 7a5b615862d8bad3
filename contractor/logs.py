"""Reading the contract's logs of known blocks, each proven to be of the block that is known by its number: a node
may be on another branch from one question to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from contractor.errors import NodeError
from contractor.events import ContractEvent
from contractor.headers import Header
from contractor.interface import Contract
from contractor.models import ContractState
from contractor.node import RawLog

ASKED_ALONE = 32
"""Up to so many blocks with logs are asked for one by one."""


def read_logs(contract: Contract, headers: Mapping[int, Header]) -> list[RawLog]:
    """The contract's logs of some blocks that follow each other, by their numbers, in the chain's order. Raises
    NodeError, also for a log of another block than the one that is known."""
    possible = _possible(headers)
    few = len(possible) <= ASKED_ALONE
    return _in_order(
        contract, _logs_of(contract, headers, possible) if few else _logs_of_range(contract, headers)
    )


def read_events(
    contract: Contract, known: Mapping[int, Header], first: int, last: int
) -> list[ContractEvent]:
    """The contract's events in blocks `first` to `last`, in the chain's order, whatever the blooms say. `known` are
    the newest of these blocks, by their numbers; those before are what the node says they are. Raises NodeError,
    also for a log of another block than the one that is known."""
    oldest = min(known, default=last + 1)
    old = contract.node.logs_of_range(contract.address, first, oldest - 1) if first < oldest else []
    numbers = sorted({log.block for log in old})
    headers = {header.number: header for header in contract.node.headers_of(numbers)} | dict(known)
    for log in old:
        _check_log(log, headers)
    logs = _in_order(contract, old + (_logs_of_range(contract, known) if known else []))
    return [contract.decode(log, headers[log.block].timestamp) for log in logs]


def kept_headers(first: int, last: int) -> dict[int, Header]:
    """The applied blocks from `first` to `last` that are kept, by their numbers."""
    rows = ContractState.objects.filter(confirmed=True, block__gte=first, block__lte=last)
    return {row.block: row.header for row in rows}


def _possible(headers: Mapping[int, Header]) -> set[int]:
    return {number for number, header in headers.items() if header.logs_possible}


def _in_order(contract: Contract, logs: Iterable[RawLog]) -> list[RawLog]:
    ours = [log for log in logs if log.address == contract.address]
    return sorted(ours, key=lambda log: (log.block, log.log_index))


def _logs_of(contract: Contract, headers: Mapping[int, Header], blocks: Iterable[int]) -> list[RawLog]:
    """Asked for by the blocks' hashes, so that a node which has not read a block in says so."""
    logs = contract.node.logs_of_blocks(contract.address, [headers[number].hash for number in sorted(blocks)])
    for log in logs:
        _check_log(log, headers)
    return logs


def _logs_of_range(contract: Contract, headers: Mapping[int, Header]) -> list[RawLog]:
    """Asked for by numbers, which is less to ask, but may come incomplete: a node that is still reading in blocks
    leaves the newest out, one with a limit the last. So blocks whose bloom allows logs and that came without any
    are asked for again by their hashes, and so is the last block of those that follow each other."""
    logs = contract.node.logs_of_range(contract.address, min(headers), max(headers))
    for log in logs:
        _check_log(log, headers)
    found = {log.block for log in logs}
    again = (_possible(headers) - found) | {number for number in found if number + 1 not in found}
    return [log for log in logs if log.block not in again] + _logs_of(contract, headers, again)


def _check_log(log: RawLog, headers: Mapping[int, Header]) -> None:
    header = headers.get(log.block)
    if header is None or header.hash != log.block_hash:
        raise NodeError(f"the node gave a log of another block {log.block} than the one known")
