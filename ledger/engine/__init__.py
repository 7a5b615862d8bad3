"""The ledger's rules as pure functions: no Django, no clock, no randomness, no I/O.

`decide(accounts, command, facts, rules)` gives the event that the command causes, or a `Refusal`;
`apply(accounts, event)` gives the accounts after it. The same events give the same accounts.
"""

from ledger.engine.accounts import Account, Accounts, Key, Owner
from ledger.engine.commands import (
    CancelWithdrawal,
    ChainEffect,
    Command,
    Deposit,
    RequestWithdrawal,
    Transfer,
)
from ledger.engine.decide import decide
from ledger.engine.events import (
    Deposited,
    Event,
    Refusal,
    Transferred,
    WithdrawalCancelled,
    WithdrawalRequested,
    apply,
)
from ledger.engine.rules import Facts, Rules

__all__ = [
    "Account",
    "Accounts",
    "CancelWithdrawal",
    "ChainEffect",
    "Command",
    "Deposit",
    "Deposited",
    "Event",
    "Facts",
    "Key",
    "Owner",
    "Refusal",
    "RequestWithdrawal",
    "Rules",
    "Transfer",
    "Transferred",
    "WithdrawalCancelled",
    "WithdrawalRequested",
    "apply",
    "decide",
]
