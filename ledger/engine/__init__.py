"""The ledger's rules as pure functions: no Django, no clock, no randomness, no I/O.

`decide(accounts, command, facts, rules)` gives the event that the command causes, or a `Refusal`;
`apply(accounts, event)` gives the accounts after it. The same events give the same accounts.
"""

from ledger.engine.accounts import Account, Accounts, Key, Owner
from ledger.engine.commands import (
    CancelOrder,
    CancelWithdrawal,
    ChainEffect,
    Command,
    Deposit,
    Fill,
    FinalizeOrder,
    FreezeOrder,
    OrderAction,
    OrderCommand,
    PlaceOrder,
    RequestWithdrawal,
    Transfer,
)
from ledger.engine.decide import decide
from ledger.engine.events import (
    Deposited,
    Event,
    Moved,
    Refusal,
    Transferred,
    WithdrawalCancelled,
    WithdrawalRequested,
    apply,
)
from ledger.engine.order_events import (
    Filled,
    OrderCancelled,
    OrderCarried,
    OrderEon,
    OrderEvent,
    OrderFinalized,
    OrderFrozen,
    OrderPlaced,
    OrderVoided,
    Side,
    orders_after,
)
from ledger.engine.orders import Order, SignedState
from ledger.engine.rules import HIGHEST_COUNTER, HIGHEST_ORDERED, Facts, Rules
from ledger.engine.swaps import carry_over

__all__ = [
    "HIGHEST_COUNTER",
    "HIGHEST_ORDERED",
    "Account",
    "Accounts",
    "CancelOrder",
    "CancelWithdrawal",
    "ChainEffect",
    "Command",
    "Deposit",
    "Deposited",
    "Event",
    "Facts",
    "Fill",
    "Filled",
    "FinalizeOrder",
    "FreezeOrder",
    "Key",
    "Moved",
    "Order",
    "OrderAction",
    "OrderCancelled",
    "OrderCarried",
    "OrderCommand",
    "OrderEon",
    "OrderEvent",
    "OrderFinalized",
    "OrderFrozen",
    "OrderPlaced",
    "OrderVoided",
    "Owner",
    "PlaceOrder",
    "Refusal",
    "RequestWithdrawal",
    "Rules",
    "Side",
    "SignedState",
    "Transfer",
    "Transferred",
    "WithdrawalCancelled",
    "WithdrawalRequested",
    "apply",
    "carry_over",
    "decide",
    "orders_after",
]
