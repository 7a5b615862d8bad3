"""The configured contract, and the check that node, contract, settings and database belong together."""

from __future__ import annotations

import logging

from django.conf import settings

from contractor.errors import RevertedError, WrongChainError
from contractor.interface import EONS_KEPT, Contract, Parameters
from contractor.models import ContractParameters, ContractState
from contractor.node import Node
from contractor.nodes import nodes
from nocust.addresses import to_checksum

DEPOSITS_KEPT = 3
BLOCKS_TO_ANSWER = 1
"""A challenge that is deep enough to count is answered in the block after, at best."""

logger = logging.getLogger(__name__)

_contracts: dict[Node, Contract] = {}
_checked: set[Node] = set()


def contract() -> Contract:
    """The configured contract at the node that is best now, unchecked."""
    node = nodes().best()
    found = _contracts.get(node)
    if found is None:
        found = _contracts[node] = Contract(node, settings.HUB_LQD_CONTRACT_ADDRESS)
    return found


def chain() -> Contract:
    """The configured contract at the node that is best now, checked once a node before it is used. Raises
    NodeError, WrongChainError."""
    target = contract()
    if target.node not in _checked:
        check_chain(target)
        _checked.add(target.node)
    return target


def forget() -> None:
    """Connect and check again at the next use."""
    if nodes.cache_info().currsize:
        nodes().close()
    nodes.cache_clear()
    _contracts.clear()
    _checked.clear()


def is_known_branch(target: Contract, block: int) -> bool:
    """Whether the node's block of this number is the one that the hub follows; False where the hub knows none. What
    a node says of a block by its number means another block while it is on another branch. Raises NodeError."""
    known = ContractState.objects.filter(block=block).values_list("block_hash", flat=True).first()
    return known is not None and target.node.headers(block, block)[0].hash == known


def check_chain(target: Contract | None = None) -> ContractParameters:
    """Compare the chain id, the contract and its parameters with the settings and with what this database was
    made for, and store them at the first time. Raises WrongChainError with the reason, NodeError."""
    target = target or contract()
    chain_id = target.node.chain_id()
    if settings.HUB_ETHEREUM_CHAIN_ID and chain_id != settings.HUB_ETHEREUM_CHAIN_ID:
        raise WrongChainError(
            f"the node is on chain {chain_id}, HUB_ETHEREUM_CHAIN_ID says {settings.HUB_ETHEREUM_CHAIN_ID}"
        )
    place = f"the contract at {to_checksum(target.address)} (HUB_LQD_CONTRACT_ADDRESS)"
    if not target.node.code(target.address):
        raise WrongChainError(f"{place} has no code on chain {chain_id}: it is not deployed there")
    try:
        parameters = target.parameters()
    except RevertedError as error:
        raise WrongChainError(f"{place} is not a commit-chain: {error}") from error
    _check_parameters(place, parameters)
    if not target.matches_artifact():
        logger.warning("%s has other code than the one this hub was built with", place)
    genesis_hash = target.node.headers(parameters.genesis, parameters.genesis)[0].hash
    found = ContractParameters(
        id=1,
        chain_id=chain_id,
        contract=target.address,
        operator=parameters.operator,
        genesis_block=parameters.genesis,
        genesis_hash=genesis_hash,
        blocks_per_eon=parameters.blocks_per_eon,
        blocks_per_epoch=parameters.blocks_per_epoch,
        extended_blocks_per_epoch=parameters.extended_blocks_per_epoch,
        eons_kept=parameters.eons_kept,
        deposits_kept=parameters.deposits_kept,
        challenge_cost=parameters.challenge_cost,
    )
    stored = ContractParameters.objects.first()
    if stored is None:
        deep = target.node.head().number - parameters.genesis >= settings.HUB_LQD_CONTRACT_CONFIRMATIONS
        # Until then it may be another one yet; the follower stores it when it applies the block.
        found.genesis_hash = genesis_hash if deep else None
        ContractParameters.objects.bulk_create([found], ignore_conflicts=True)
        stored = ContractParameters.objects.get()
        found.genesis_hash = genesis_hash
    _check_stored(stored, found)
    return stored


def _check_parameters(place: str, parameters: Parameters) -> None:
    if parameters.operator != settings.HUB_OWNER_ACCOUNT_ADDRESS:
        raise WrongChainError(
            f"{place} belongs to operator {to_checksum(parameters.operator)}, HUB_OWNER_ACCOUNT_ADDRESS says"
            f" {to_checksum(settings.HUB_OWNER_ACCOUNT_ADDRESS)}"
        )
    eon = parameters.blocks_per_eon
    expected = (eon // 4, eon // 3, EONS_KEPT, DEPOSITS_KEPT)
    actual = (
        parameters.blocks_per_epoch,
        parameters.extended_blocks_per_epoch,
        parameters.eons_kept,
        parameters.deposits_kept,
    )
    if eon <= 0 or actual != expected:
        raise WrongChainError(
            f"{place} is of another kind: for eons of {eon} blocks its epochs and rings should be {expected}, they"
            f" are {actual}"
        )
    confirmations, answer = settings.HUB_LQD_CONTRACT_CONFIRMATIONS, eon // 4
    if confirmations + BLOCKS_TO_ANSWER >= answer:
        raise WrongChainError(
            f"HUB_LQD_CONTRACT_CONFIRMATIONS is {confirmations}, but {place} takes the answer to a challenge in"
            f" fewer than {answer} blocks, a quarter of an eon: the hub would see it too late. Choose at most"
            f" {answer - BLOCKS_TO_ANSWER - 1}, better far fewer"
        )


def _check_stored(stored: ContractParameters, found: ContractParameters) -> None:
    """The database belongs to one contract on one chain for ever."""
    fields = {field.attname for field in ContractParameters._meta.concrete_fields}
    if stored.genesis_hash is None:
        fields.remove("genesis_hash")
    different = [name for name in sorted(fields) if getattr(stored, name) != getattr(found, name)]
    if different:
        changes = ", ".join(
            f"{name} {_text(stored, name)} there, {_text(found, name)} here" for name in different
        )
        raise WrongChainError(f"the database belongs to another chain or contract: {changes}")


def _text(row: ContractParameters, name: str) -> str:
    value = getattr(row, name)
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
