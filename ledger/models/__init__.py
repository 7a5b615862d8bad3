"""The off-chain ledger's tables. Amounts are integers in the token's smallest unit; hashes, addresses and
signatures are bytes."""

from ledger.models.accounts import Account, ActiveState, MinimumAvailableBalance
from ledger.models.chain import (
    BlockchainTransaction,
    Challenge,
    DelegatedWithdrawal,
    Deposit,
    Withdrawal,
    WithdrawalRequest,
)
from ledger.models.commitments import (
    ExclusiveBalanceAllotment,
    RootCommitment,
    TokenCommitment,
    TreeChunk,
)
from ledger.models.outbox import Event, Outbox, StreamPosition
from ledger.models.status import ChainStatus, Reorganisation
from ledger.models.swaps import Matching, TokenPair
from ledger.models.transfers import Transaction, Transfer
from ledger.models.wallets import Blacklist, Token, Wallet

__all__ = [
    "Account",
    "ActiveState",
    "Blacklist",
    "BlockchainTransaction",
    "ChainStatus",
    "Challenge",
    "DelegatedWithdrawal",
    "Deposit",
    "Event",
    "ExclusiveBalanceAllotment",
    "Matching",
    "MinimumAvailableBalance",
    "Outbox",
    "Reorganisation",
    "RootCommitment",
    "StreamPosition",
    "Token",
    "TokenCommitment",
    "TokenPair",
    "Transaction",
    "Transfer",
    "TreeChunk",
    "Wallet",
    "Withdrawal",
    "WithdrawalRequest",
]
