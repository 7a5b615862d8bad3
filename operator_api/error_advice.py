"""What a client does about each error code: for `docs/errors.md`."""

from __future__ import annotations

from operator_api.error_codes import ErrorCode as Code

MEND = "Mend the request: as it is, it fails again."
RESYNC = "Read the wallet's state and the latest eon, sign anew and send again."
LATER = "Send the same again later, signed for the eon that is then; say so to the user."
NOTHING = "Nothing: it is done already."
OVER = "Read the order: another request, or the market, was first."

ADVICE: dict[Code, str] = {
    Code.TOKEN_NOT_REGISTERED: "Take a token of `GET /audit/tokens/`.",
    Code.WALLET_NOT_ADMITTED: "Register the address in the token: `POST /admission/`.",
    Code.WALLET_BLACKLISTED: "Ask the operator.",
    Code.WALLET_ALREADY_ADMITTED: NOTHING,
    Code.INVALID_ADDRESS: MEND,
    Code.INVALID_ADMISSION_SIGNATURE: "Read the latest eon at `GET /audit/`, sign the registration for it and send"
    " again.",
    Code.INVALID_TOS_SIGNATURE: "Sign the terms of `GET /tos/latest` with the wallet's key, and send that with the"
    " registration or to `POST /tos/`.",
    Code.LATEST_TOS_ALREADY_SIGNED: NOTHING,
    Code.TOS_NOT_PUBLISHED: "Ask the operator to publish terms; nobody can register before.",
    Code.TOO_MANY_ADMISSION_REQUESTS: "Send them in parts.",
    Code.EON_NUMBER_OUT_OF_SYNC: "Wait two seconds, then: " + RESYNC[0].lower() + RESYNC[1:],
    Code.DEBIT_CREDIT_WALLET_ADDRESS_MATCH: MEND,
    Code.DEBIT_CREDIT_TOKEN_ADDRESS_MISMATCH: MEND,
    Code.DEBIT_CREDIT_WALLET_ADDRESS_MISMATCH: MEND,
    Code.DEBIT_CREDIT_TOKEN_ADDRESS_MATCH: MEND,
    Code.INVALID_DEBIT_AMOUNT: MEND,
    Code.INVALID_CREDIT_AMOUNT: MEND,
    Code.SWAPPING_DISABLED: "Trade elsewhere.",
    Code.TOKEN_PAIR_BLOCKED: "Trade another pair, or try again later.",
    Code.TOO_MANY_FUTURE_SIGNATURES: "Sign for fewer eons.",
    Code.WRONG_NUMBER_OF_SIGNATURES: MEND,
    Code.DEBIT_WALLET_EXCEEDED_SLA: "Buy an agreement (`GET /sla/` says how), or wait for the next eon.",
    Code.CREDIT_WALLET_EXCEEDED_SLA: "Ask the recipient to buy an agreement, or wait for the next eon.",
    Code.DEBIT_WALLET_CANNOT_ADD_TRANSACTION: "Wait until the wallet's order is over, or end it.",
    Code.CREDIT_WALLET_CANNOT_ADD_TRANSACTION: "Wait until the recipient's order is over.",
    Code.DEBIT_WALLET_OVERSPENDING: "Read the wallet's balance; pay less.",
    Code.DEBIT_WALLET_BALANCE_MARKER_EXCEED_BALANCE: "Claim no more than is left after the transfer.",
    Code.INVALID_DEBIT_BALANCE_SIGNATURE: MEND,
    Code.INVALID_DEBIT_SIGNATURE: "Another transfer was accepted meanwhile, or the signature is wrong. "
    + RESYNC,
    Code.DEBIT_WALLET_BALANCE_AMOUNT_MISMATCH: "Order with the wallet's whole balance.",
    Code.CREDIT_WALLET_BALANCE_NOT_ZERO: "Move what the receiving wallet holds, or use another address.",
    Code.INVALID_CREDIT_BALANCE_SIGNATURE: MEND,
    Code.INVALID_CREDIT_SIGNATURE: RESYNC,
    Code.INVALID_CREDIT_FULFILLMENT_SIGNATURE: MEND,
    Code.INVALID_FUTURE_DEBIT_SIGNATURE: MEND,
    Code.INVALID_FUTURE_CREDIT_SIGNATURE: MEND,
    Code.INVALID_FUTURE_CREDIT_FULFILLMENT_SIGNATURE: MEND,
    Code.INVALID_FREEZING_SIGNATURE: MEND,
    Code.SWAP_ALREADY_FULFILLED: "`PUT /swap/{id}/finalize`.",
    Code.SWAP_ALREADY_FROZEN: "`PUT /swap/{id}/cancel`.",
    Code.SWAP_ALREADY_VOIDED: OVER,
    Code.SWAP_ALREADY_CLOSED: OVER,
    Code.SWAP_NOT_FROZEN: "`PUT /swap/{id}/freeze` first.",
    Code.SWAP_NOT_FULFILLED: "Wait until it is filled, or freeze and cancel it.",
    Code.WRONG_NUMBER_OF_DEBIT_SIGNATURES: "Sign for the eons from the latest to the order's last.",
    Code.WRONG_NUMBER_OF_CREDIT_SIGNATURES: "Sign for the eons from the latest to the order's last.",
    Code.INVALID_EXPIRY: "Choose a block of the latest eon that is not about to be mined, or await the next.",
    Code.INVALID_WITHDRAWAL_SIGNATURE: "Sign the amount plus what the wallet has requested on chain in this eon.",
    Code.WITHDRAWAL_ALREADY_REQUESTED: NOTHING,
    Code.TRANSFER_DOES_NOT_EXIST: MEND,
    Code.TRANSFER_MADE_TO_WRONG_WALLET: "Pay to the recipient that `GET /sla/` names.",
    Code.TRANSFER_MADE_WITH_WRONG_TOKEN: "Pay in the token that `GET /sla/` names.",
    Code.TRANSFER_AMOUNT_TOO_LOW: "Pay what `GET /sla/` asks, in one transfer.",
    Code.TRANSFER_MADE_BY_OTHER_WALLET: "Name the address that paid.",
    Code.SLA_ALREADY_EXISTS_FOR_TRANSFER: "Pay again for another agreement.",
    Code.SLA_STILL_VALID_FOR_WALLET: "Buy the next one when this one has expired.",
    Code.CHAIN_HALTED: "Get the money out with `GET /audit/{token}/{wallet}/recovery/`; nothing is accepted again.",
    Code.CHAIN_FORKED: LATER,
    Code.CHAIN_BEHIND: LATER,
    Code.HUB_MAINTENANCE: LATER,
    Code.HUB_NOT_READY: "Send the same again in some seconds.",
    Code.DATABASE_READ_ONLY: "Send the same again in some seconds.",
}
