"""All alarms that the hub knows: how bad each is, what it means, and how it ends.

The page of an alarm in the runbook is `docs/operations/alarms/<subject with hyphens>.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Severity(StrEnum):
    """How soon somebody must look."""

    WARNING = "warning"
    """Today: the hub copes, or it was one incident."""
    CRITICAL = "critical"
    """Now: money, the contract or the service is at risk."""


class End(Enum):
    """How an alarm ends."""

    CHECKED = "a periodic check finds that it is over"
    SILENT = "nothing has raised it for some minutes, though everything runs"
    NEVER = (
        "it tells of an incident: it is listed for a day after the last one, and there is nothing to resolve"
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """One alarm of the catalogue. The sentence says what it means, without the numbers of a case."""

    subject: str
    severity: Severity
    end: End
    sentence: str

    @property
    def page(self) -> str:
        """File name of the runbook page."""
        return f"{self.subject.replace(' ', '-')}.md"


_W, _C = Severity.WARNING, Severity.CRITICAL

CATALOGUE: dict[str, Kind] = {
    kind.subject: kind
    for kind in (
        # Watching the hub (heartbeat.checks)
        Kind("books differ", _C, End.CHECKED, "An order book in memory is not what the database says."),
        Kind(
            "checkpoint late", _C, End.CHECKED, "Half of the eon is over and its checkpoint is not on chain."
        ),
        Kind("fills differ", _C, End.CHECKED, "Orders and their fills do not add up."),
        Kind("halted", _C, End.CHECKED, "The contract refuses to go on; users can only recover their funds."),
        Kind(
            "hub held",
            _C,
            End.CHECKED,
            "The database is not the one it was: nothing is signed until the operator decides.",
        ),
        Kind(
            "ledger unbalanced",
            _C,
            End.CHECKED,
            "What wallets own does not follow from deposits and requests.",
        ),
        Kind("no block applied", _C, End.CHECKED, "The hub has applied no block of the chain for some time."),
        Kind("pool short", _C, End.CHECKED, "The contract holds less than was deposited and not paid out."),
        Kind(
            "queue lag", _C, End.CHECKED, "A periodic task does not run, or events wait too long to be told."
        ),
        Kind(
            "replica not read", _W, End.CHECKED, "The database's replica is away, or far behind, or is none."
        ),
        Kind(
            "states differ", _C, End.CHECKED, "A wallet's state in force is not what it has spent and gained."
        ),
        # The chain
        Kind("chain", _C, End.SILENT, "The chain is not the one that the hub belongs to."),
        Kind(
            "chain behind",
            _C,
            End.SILENT,
            "The hub has read too little of the chain and accepts nothing new.",
        ),
        Kind("deep fork", _C, End.SILENT, "The chain departs from blocks whose events were applied."),
        Kind("node behind", _W, End.SILENT, "A node lags behind the others and is passed over."),
        Kind("node failed", _W, End.SILENT, "A node does not answer, or not sensibly."),
        Kind("nodes disagree", _C, End.SILENT, "Two nodes show different blocks deep in the chain."),
        # Challenges
        Kind("challenge", _W, End.NEVER, "Somebody opened a dispute on chain."),
        Kind("challenge at risk", _C, End.SILENT, "A challenge is not answered and its deadline is near."),
        Kind(
            "challenge lost", _C, End.NEVER, "A challenge was not answered in time: the contract will halt."
        ),
        Kind("challenge unanswerable", _C, End.SILENT, "The hub cannot build the answer to a challenge."),
        Kind("challenge unseen", _C, End.NEVER, "The contract has challenges that the node did not tell of."),
        # What the contract says about the ledger
        Kind("events differ", _C, End.NEVER, "The events read are not those that the contract counted."),
        Kind(
            "foreign checkpoint", _C, End.NEVER, "The contract holds a checkpoint that is not this ledger's."
        ),
        Kind("funds recovered", _W, End.NEVER, "A holder took funds out of the halted contract."),
        Kind(
            "late cancellation", _W, End.NEVER, "A checkpoint was made without cancellations it waited for."
        ),
        Kind(
            "overdraft",
            _C,
            End.NEVER,
            "More was requested on chain than there was, and it cannot be cancelled.",
        ),
        Kind(
            "payment without request",
            _C,
            End.NEVER,
            "The contract paid what the ledger does not know as due.",
        ),
        Kind("slash differs", _C, End.NEVER, "The contract cancelled another sum than the ledger knows."),
        Kind("unknown token", _W, End.NEVER, "An event names a token that the hub does not deal in."),
        Kind(
            "withdrawal without wallet", _W, End.NEVER, "An address without a wallet requested a withdrawal."
        ),
        Kind("matching", _C, End.SILENT, "Orders cannot be matched, and are set aside."),
        # The operator's transactions
        Kind("fee cap", _W, End.SILENT, "A transaction is not mined, and its fee is at the limit."),
        Kind("low balance", _C, End.SILENT, "The operator's account holds too little ether."),
        Kind("nonce gap", _W, End.NEVER, "A nonce below those on their way was free."),
        Kind("nonce taken", _W, End.NEVER, "Another program used a nonce of the operator's account."),
        Kind("stuck transaction", _W, End.SILENT, "A transaction is not mined and is sent again for more."),
        Kind("transaction failed", _C, End.NEVER, "A transaction cannot succeed any more and is given up."),
        Kind("transaction held up", _C, End.SILENT, "The contract would refuse a transaction now."),
        Kind("transaction refused", _W, End.SILENT, "The node refused a signed transaction."),
        # The hub itself
        Kind(
            "task failed",
            _C,
            End.SILENT,
            "A part of a periodic task raised an error that it does not expect.",
        ),
    )
}


def kind_of(subject: str) -> Kind:
    """The catalogue's entry; one is made up, critical, for a subject that is not in it: an alarm is never lost
    for being unknown."""
    return CATALOGUE.get(subject) or Kind(subject, _C, End.NEVER, "Not in the catalogue of alarms.")


def subjects(end: End) -> list[str]:
    """Those of the alarms that end so."""
    return [kind.subject for kind in CATALOGUE.values() if kind.end == end]
