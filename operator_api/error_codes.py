"""The catalogue of error codes. The code on the wire is the member's name (`spec/http-api.md` §2.4)."""

from __future__ import annotations

from enum import Enum

from django.db import InterfaceError, InternalError, OperationalError
from psycopg2.errors import ReadOnlySqlTransaction

NO_DATABASE = (OperationalError, InterfaceError)
"""What is raised when PostgreSQL does not answer, or not in time."""
NO_DATABASE_DETAIL = "The database does not answer now: try again."


class ErrorCode(Enum):
    """Machine code of a refusal; the value is the sentence that explains it."""

    TOKEN_NOT_REGISTERED = "The token is not known to this hub."
    WALLET_NOT_ADMITTED = "The address has no wallet for this token."
    WALLET_BLACKLISTED = "The operator does not admit this address."
    WALLET_ALREADY_ADMITTED = "The address already has a wallet for this token."
    INVALID_ADDRESS = "An address is 40 hexadecimal digits, with or without 0x."
    INVALID_ADMISSION_SIGNATURE = "The authorisation is not the address's signature for the latest eon."
    INVALID_TOS_SIGNATURE = "The terms of service are not signed by the address."
    LATEST_TOS_ALREADY_SIGNED = "The address has already signed the latest terms of service."
    TOS_NOT_PUBLISHED = "The hub has published no terms of service yet."
    TOO_MANY_ADMISSION_REQUESTS = "Too many wallets in one request."
    EON_NUMBER_OUT_OF_SYNC = "The eon is not the latest one, or its ledger is closed already."
    DEBIT_CREDIT_WALLET_ADDRESS_MATCH = "Sender and recipient are the same wallet."
    DEBIT_CREDIT_TOKEN_ADDRESS_MISMATCH = "Sender and recipient hold different tokens."
    DEBIT_CREDIT_WALLET_ADDRESS_MISMATCH = "The two wallets of an order belong to the same address."
    DEBIT_CREDIT_TOKEN_ADDRESS_MATCH = "An order is between two different tokens."
    INVALID_DEBIT_AMOUNT = "The amount given is from 1 to 2**126 - 1."
    INVALID_CREDIT_AMOUNT = "The amount wanted is from 1 to 2**126 - 1."
    SWAPPING_DISABLED = "This hub takes no orders."
    TOKEN_PAIR_BLOCKED = "Orders of this token for that one are not taken, or not at the moment."
    TOO_MANY_FUTURE_SIGNATURES = "The order lasts more eons than allowed."
    WRONG_NUMBER_OF_SIGNATURES = "The lists of signatures have one signature for each eon of the order."
    DEBIT_WALLET_EXCEEDED_SLA = "The sender used up its free transactions of this eon."
    CREDIT_WALLET_EXCEEDED_SLA = "The recipient used up its free transactions of this eon."
    DEBIT_WALLET_CANNOT_ADD_TRANSACTION = "The sender cannot add a transaction now."
    CREDIT_WALLET_CANNOT_ADD_TRANSACTION = "The recipient cannot add a transaction now."
    DEBIT_WALLET_OVERSPENDING = "The amount is more than the sender can spend."
    DEBIT_WALLET_BALANCE_MARKER_EXCEED_BALANCE = "The claimed balance is more than would be left."
    INVALID_DEBIT_BALANCE_SIGNATURE = "The signature of the claimed balance is not the sender's."
    INVALID_DEBIT_SIGNATURE = "The signature of the new active state is not the sender's."
    DEBIT_WALLET_BALANCE_AMOUNT_MISMATCH = "An order gives all that its wallet can spend."
    CREDIT_WALLET_BALANCE_NOT_ZERO = "The wallet that an order receives in is empty when it is placed."
    INVALID_CREDIT_BALANCE_SIGNATURE = "The signature of the receiving wallet's marker is not the owner's."
    INVALID_CREDIT_SIGNATURE = "The signature of the receiving wallet's active state is not the owner's."
    INVALID_CREDIT_FULFILLMENT_SIGNATURE = "The signature of the fulfilled state is not the owner's."
    INVALID_FUTURE_DEBIT_SIGNATURE = "The signature of a later eon's active state is not the sender's."
    INVALID_FUTURE_CREDIT_SIGNATURE = (
        "The signature of the receiving wallet's active state of a later eon is not the owner's."
    )
    INVALID_FUTURE_CREDIT_FULFILLMENT_SIGNATURE = (
        "The signature of the fulfilled state of a later eon is not the owner's."
    )
    INVALID_FREEZING_SIGNATURE = "The freezing is not signed by the order's owner."
    SWAP_ALREADY_FULFILLED = "The order is filled: finalise it."
    SWAP_ALREADY_FROZEN = "The order is frozen: cancel it."
    SWAP_ALREADY_VOIDED = "The order is void."
    SWAP_ALREADY_CLOSED = "The order is over."
    SWAP_NOT_FROZEN = "Only a frozen order can be cancelled."
    SWAP_NOT_FULFILLED = "Only a filled order can be finalised."
    WRONG_NUMBER_OF_DEBIT_SIGNATURES = "One signature of the giving wallet is needed for each eon left."
    WRONG_NUMBER_OF_CREDIT_SIGNATURES = "One signature of the receiving wallet is needed for each eon left."
    INVALID_EXPIRY = "The expiry is not a block in the near future."
    INVALID_WITHDRAWAL_SIGNATURE = "The withdrawal is not authorised by the wallet's owner."
    WITHDRAWAL_ALREADY_REQUESTED = "This authorisation has been used already."
    TRANSFER_DOES_NOT_EXIST = "There is no such transfer."
    TRANSFER_MADE_TO_WRONG_WALLET = "The transfer does not pay the hub's service wallet."
    TRANSFER_MADE_WITH_WRONG_TOKEN = "The transfer does not pay in the service token."
    TRANSFER_AMOUNT_TOO_LOW = "The transfer pays less than the service costs."
    TRANSFER_MADE_BY_OTHER_WALLET = "The transfer was not made by this address."
    SLA_ALREADY_EXISTS_FOR_TRANSFER = "An agreement was already bought with this transfer."
    SLA_STILL_VALID_FOR_WALLET = "The address has an agreement that is still valid."
    CHAIN_HALTED = "The contract is halted: nothing new is accepted."
    CHAIN_FORKED = (
        "The chain forked deeper than the hub relies on: nothing new is accepted until that is resolved."
    )
    CHAIN_BEHIND = "The hub has not read the newest blocks yet: nothing new is accepted until it has."
    HUB_MAINTENANCE = "The operator works on the hub: nothing new is accepted for a while."
    HUB_NOT_READY = "The hub has not read the chain yet."
    DATABASE_READ_ONLY = "The database takes no writes now: nothing was done, try again."

    @property
    def code(self) -> str:
        """The code on the wire."""
        return self.name


def is_read_only(error: BaseException | None) -> bool:
    """Whether PostgreSQL refused to write anything at all: it is a standby, or was switched to read only."""
    return isinstance(error, InternalError) and isinstance(error.__cause__, ReadOnlySqlTransaction)


def no_database(error: BaseException | None) -> dict[str, str] | None:
    """The body of the 503 for an error that is PostgreSQL's, None for others."""
    if isinstance(error, NO_DATABASE):
        return {"detail": NO_DATABASE_DETAIL}
    if is_read_only(error):
        code = ErrorCode.DATABASE_READ_ONLY
        return {"code": code.code, "detail": code.value}
    return None
