"""What a restored database lacks, told from the chain and from states of wallets (`manage.py after_restore`).

The chain gives back deposits, withdrawals and challenges: the follower applies them again. It cannot give back what
the hub signed between the restored point and the failure: transfers, orders and registrations. Of a closed eon it
tells whether anything was lost: the ledger's checkpoint then has another root than the one that was submitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db.models import Count

from contractor.chain import chain
from contractor.events import CheckpointSubmission
from contractor.interface import Contract
from contractor.models import EthereumTransaction
from ledger.models import ActiveState, ChainStatus, RootCommitment, Wallet
from nocust.addresses import parse_address, to_checksum
from nocust.encoding import hex_to_bytes
from nocust.errors import NocustError
from nocust.messages import active_state_hash
from nocust.signatures import is_valid, parse_signature
from restoration.models import Hold, SubmittedRoot


@dataclass(slots=True)
class Comparison:
    """The ledger beside the chain. `missing` are checkpoints that the contract holds and the ledger has not made
    again yet; `different` those that it has made otherwise; `unproven` the eons in which the hub may have signed
    what the ledger lacks."""

    status: ChainStatus
    head: int
    chain_eon: int
    submitted: dict[int, bytes]
    missing: list[int] = field(default_factory=list)
    different: list[int] = field(default_factory=list)
    unproven: list[int] = field(default_factory=list)

    @property
    def behind(self) -> int:
        """Blocks that are deep enough to count and not applied yet."""
        return max(self.head - settings.HUB_LQD_CONTRACT_CONFIRMATIONS - self.status.confirmed_block, 0)

    def obstacles(self) -> list[str]:
        """Why nothing can be decided, a sentence each."""
        told = [
            f"the checkpoint of eon {eon} is not the one that the contract holds: this ledger lacks what was signed"
            f" in eon {eon - 1}, and no checkpoint that it makes can be defended. Restore a later backup"
            for eon in self.different
        ]
        if self.missing:
            told.append(
                f"the ledger has not made the checkpoints of eons {_range(self.missing)} again: let the workers"
                " catch up (./run.sh prod, or chain, verifier and accounting); if they say that one differs, this"
                " ledger lacks what was signed before it"
            )
        elif self.behind > settings.HUB_CHAIN_BEHIND_BLOCKS and not self.different:
            told.append(f"{self.behind} blocks are not applied yet: let the workers catch up")
        return told


def _range(eons: list[int]) -> str:
    return f"{eons[0]} to {eons[-1]}" if len(eons) > 1 else str(eons[0])


def compare(hold: Hold | None) -> Comparison:
    """Read the contract's checkpoints since the ledger's newest applied block, keep them, and compare. Raises
    ChainError, and ChainStatus.DoesNotExist where the ledger has not read the chain at all."""
    contract = chain()
    status = ChainStatus.objects.get()
    head = contract.node.head().number
    _keep(contract, status, head)
    submitted = {row.eon_number: bytes(row.merkle_root) for row in SubmittedRoot.objects.all()}
    made = {row.eon_number: bytes(row.merkle_root) for row in RootCommitment.objects.all()}
    result = Comparison(status, head, contract.current_eon(), submitted)
    result.missing = sorted(submitted.keys() - made.keys())
    result.different = sorted(eon for eon in submitted.keys() & made.keys() if submitted[eon] != made[eon])
    first = status.eon if hold is None or hold.restored_eon is None else hold.restored_eon
    proven = {eon - 1 for eon in submitted.keys() & made.keys() if submitted[eon] == made[eon]}
    result.unproven = [eon for eon in range(first, result.chain_eon + 1) if eon not in proven]
    return result


def _keep(contract: Contract, status: ChainStatus, head: int) -> None:
    """Store the submissions that the ledger may not have seen; those of reorganised blocks are replaced."""
    first = max(status.confirmed_block - status.blocks_per_eon, status.genesis_block)
    last = head - settings.HUB_LQD_CONTRACT_CONFIRMATIONS
    logs = contract.node.logs_of_range(contract.address, first, last) if last >= first else []
    for log in logs:
        event = contract.decode(log)
        if isinstance(event, CheckpointSubmission):
            SubmittedRoot.objects.update_or_create(
                eon_number=event.eon, defaults={"merkle_root": event.merkle_root, "block": event.place.block}
            )


def waiting_transactions() -> dict[str, int]:
    """How many of the operator's transactions the restored ledger takes for unfinished, by state."""
    states = [EthereumTransaction.State.QUEUED, EthereumTransaction.State.SENT]
    rows = EthereumTransaction.objects.filter(state__in=states).values_list("state").annotate(Count("id"))
    return {str(state): count for state, count in rows}


def lost_states(found: Iterable[Mapping[str, Any]]) -> tuple[list[str], int]:
    """Sentences about states that the hub has signed and the ledger does not have, and how many were looked at.

    Each is an object with `token`, `address`, `eon_number`, `updated_spendings`, `updated_gains`, `tx_set_hash` and
    `operator_signature`, as wallets keep them and the hub's own answers show them. One whose signature is not the
    operator's proves nothing and is said so. Raises ValueError for what is no such object.
    """
    told: list[str] = []
    count = 0
    for entry in found:
        count += 1
        try:
            told += _examine(entry)
        except KeyError as error:
            raise ValueError(f"state {count} has no {error.args[0]}") from None
        except (TypeError, ValueError, NocustError) as error:
            raise ValueError(f"state {count}: {type(error).__name__}: {error}") from None
    return told, count


def _examine(entry: Mapping[str, Any]) -> list[str]:
    token, address = parse_address(entry["token"]), parse_address(entry["address"])
    eon, spent, gained = (int(entry[name]) for name in ("eon_number", "updated_spendings", "updated_gains"))
    signature = parse_signature(entry["operator_signature"])
    who = f"{to_checksum(address)} in {to_checksum(token)}, eon {eon}"
    wallet = Wallet.objects.filter(token__address=token, address=address).first()
    trail = int(entry["trail_identifier"]) if wallet is None else wallet.trail_identifier
    message = active_state_hash(
        settings.HUB_LQD_CONTRACT_ADDRESS,
        token,
        address,
        trail,
        eon,
        hex_to_bytes(entry["tx_set_hash"], 32),
        spent,
        gained,
    )
    if not is_valid(message, signature, settings.HUB_OWNER_ACCOUNT_ADDRESS):
        return [f"{who}: the signature is not the operator's"]
    if wallet is None:
        return [f"{who}: the wallet's registration was lost"]
    states = ActiveState.objects.filter(wallet=wallet, eon_number=eon, operator_signature__isnull=False)
    if states.filter(
        updated_spendings=spent,
        updated_gains=gained,
        tx_set_hash=hex_to_bytes(entry["tx_set_hash"], 32),
    ).exists():
        return []
    newest = states.order_by("-tx_set_index", "-id").first()
    known = (
        "nothing"
        if newest is None
        else f"spent {newest.updated_spendings}, gained {newest.updated_gains} at most"
    )
    return [f"{who}: the hub signed spent {spent}, gained {gained}; the ledger has {known}"]
