"""The websocket's protocol as an AsyncAPI document, for people and for generators of clients.

Objects in events are those of the REST interface; they are referred to by their names in its definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synchronizer.consumers import HEARTBEAT, MAX_FRAME, MAX_STREAMS, MAX_WAITING, Close
from synchronizer.replay import Refusal
from synchronizer.status import Flag

Object = dict[str, Any]

DEFINITIONS = "/swagger/?format=openapi#/definitions/"
CLOSE_CODES: Mapping[Close, str] = {
    Close.POLICY_VIOLATION: "The address has as many connections as it may have.",
    Close.TRY_AGAIN_LATER: f"{MAX_WAITING} frames waited for the client. Connect again and go on with `since`.",
}
REFUSALS: Mapping[Refusal, str] = {
    Refusal.POSITION_TOO_OLD: "Events behind the position are not kept any more. The stream named is subscribed"
    " from now on: read the wallet's state and drop what comes with a position up to the state's.",
    Refusal.POSITION_UNKNOWN: "The position is newer than anything told: as above.",
}


def _object(required: Mapping[str, Object], **optional: Object) -> Object:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _text(description: str, **more: Any) -> Object:
    return {"type": "string", "description": description, **more}


def _integer(description: str, **more: Any) -> Object:
    return {"type": "integer", "description": description, **more}


def _named(definition: str) -> Object:
    return {"$ref": DEFINITIONS + definition}


EON = _integer("the eon")
ROOT = _text("the checkpoint's root", pattern="^0x[0-9a-f]{64}$")
HASH = _text("a block's hash", pattern="^0x[0-9a-f]{64}$")
AMOUNT = _text("an amount", pattern="^[0-9]+$")
POSITION = _integer("a position: all events told have different, growing ones", minimum=0)
STREAMS = {"type": "array", "items": _text("a stream"), "maxItems": MAX_STREAMS}
COMMITMENT = _object({"eon_number": EON, "merkle_root": ROOT})

WALLET_EVENTS: Mapping[str, tuple[Object, str]] = {
    "REGISTERED_WALLET": (_named("Admission"), "the wallet was admitted"),
    "CONFIRMED_DEPOSIT": (_named("Deposit"), "a deposit was confirmed and can be spent"),
    "REQUESTED_WITHDRAWAL": (_named("WithdrawalRequest"), "a request on chain was confirmed"),
    "CONFIRMED_WITHDRAWAL": (_named("Withdrawal"), "the contract paid a request"),
    "TRANSFER_CONFIRMATION": (_named("TransferReceipt"), "a transfer was accepted; recipient, then sender"),
    "SWAP_CONFIRMATION": (_named("SwapReceipt"), "an order was accepted, or goes on in a new eon"),
    "MATCHED_SWAP": (_named("SwapReceipt"), "an order was matched"),
    "SWAP_CANCELLATION": (_named("SwapCancellation"), "an order was cancelled"),
    "SWAP_FINALIZATION": (_named("SwapFinalization"), "an order was finalised"),
    "CHECKPOINT_CREATED": (
        _named("WalletState"),
        "the eon's checkpoint exists; told to wallets that registered before the eon. All that happened in the eon"
        " until the frame was made is in the state, what happens later is told after it",
    ),
}
PAIR_EVENTS: Mapping[str, tuple[Object, str]] = {
    "INCOMING_SWAP": (_named("SwapReceipt"), "an order was accepted, or goes on in a new eon"),
    "MATCHED_SWAP": (_named("SwapReceipt"), "an order was matched; one that is complete is off the market"),
    "FROZEN_SWAP": (_named("SwapFreeze"), "an order was frozen: it is off the market"),
    "CANCELLED_SWAP": (_named("SwapCancellation"), "an order was cancelled"),
}
HUB_EVENTS: Mapping[str, tuple[Object, str]] = {
    "EON_STARTED": (
        _object({"eon_number": EON, "block": _integer("its first block")}),
        "the chain's head reached a new eon",
    ),
    "CHECKPOINT_CREATED": (COMMITMENT, "the eon's checkpoint exists"),
    "CHECKPOINT_SUBMITTED": (COMMITMENT, "the contract holds the eon's checkpoint, and that is confirmed"),
    "REORGANISATION": (
        _object(
            {
                "first_block": _integer("the lowest block that was replaced"),
                "blocks": _integer("how many known blocks were replaced"),
                "abandoned_hash": HASH,
                "head_hash": HASH,
                "deep": {"type": "boolean", "description": "whether effects had been applied"},
                "time": _integer("UNIX seconds"),
            }
        ),
        "blocks that the hub knew were replaced",
    ),
    "STATUS": (
        _object({str(flag.name).lower(): {"type": "boolean"} for flag in Flag}),
        "whether the hub takes what is new, and if not, why",
    ),
}
ADDRESS = "[0-9a-fA-F]{40}"
STREAM_KINDS: Mapping[str, tuple[str, str, Mapping[str, tuple[Object, str]]]] = {
    "wallet/TOKEN/ADDRESS": (f"^wallet/{ADDRESS}/{ADDRESS}$", "one wallet", WALLET_EVENTS),
    "tokenpair/SOLD/BOUGHT": (f"^tokenpair/{ADDRESS}/{ADDRESS}$", "orders in one direction", PAIR_EVENTS),
    "hub": ("^hub$", "everybody", HUB_EVENTS),
}

SINCE = {
    "description": "the last position known, of all streams of the request or of each stream",
    "oneOf": [POSITION, {"type": "object", "additionalProperties": POSITION}, {"type": "null"}],
}
WALLET_PARAMS = _object(
    {
        "token_address": _text("without 0x", pattern=f"^{ADDRESS}$"),
        "wallet_address": _text("without 0x", pattern=f"^{ADDRESS}$"),
        "eon_number": {
            "type": ["integer", "null"],
            "description": "negative: back from the latest; null: the latest",
        },
    }
)
ORDERS_PARAMS = _object(
    {
        "sold_token": _text("without 0x", pattern=f"^{ADDRESS}$"),
        "bought_token": _text("without 0x", pattern=f"^{ADDRESS}$"),
    }
)
OPEN_ORDER = _object(
    {
        "id": _integer("the order's row of the eon"),
        "tx_id": _text("the same in all its eons"),
        "eon_number": EON,
        "amount": AMOUNT,
        "amount_swapped": AMOUNT,
        "sell_order": {"type": "boolean"},
        "matched_amounts": _object({"matched_in": AMOUNT, "matched_out": AMOUNT}),
    }
)
ARGUMENTS: Mapping[str, tuple[Object, str]] = {
    "subscribe": (
        _object({"streams": STREAMS}, since=SINCE),
        "Begin to be told. With `since`, first what was told after that position.",
    ),
    "unsubscribe": (_object({"streams": STREAMS}), 'End that; `["*"]`: all.'),
    "ping": (_object({}), "Ask for a sign of life."),
    "heartbeat": (
        _object({"seconds": _integer("0: none", minimum=0, maximum=HEARTBEAT[1])}),
        "Be sent a heartbeat each so many seconds.",
    ),
    "get": (
        {
            "oneOf": [
                _object({"resource": {"const": "wallet"}, "params": WALLET_PARAMS}),
                _object({"resource": {"const": "orders"}, "params": ORDERS_PARAMS}),
                _object({"resource": {"const": "operator"}, "params": _object({})}),
            ]
        },
        "Read a wallet's state in an eon, the open orders of a pair, or where the hub stands.",
    ),
}
ANSWERS: Mapping[str, tuple[Object, Object]] = {
    "subscribe": (
        _object({"streams": STREAMS}),
        {"position": POSITION | {"description": "everything behind it will be told"}},
    ),
    "unsubscribe": (_object({"streams": STREAMS}), {}),
    "ping": ({"const": "pong"}, {}),
    "heartbeat": (_object({"seconds": _integer("as asked")}), {}),
    "wallet": (
        _named("WalletState"),
        {
            "position": POSITION | {"description": "everything told up to it is in the state"},
            "eon_number": EON,
        },
    ),
    "orders": (
        {"type": "array", "items": OPEN_ORDER, "description": "those in force, in order of their ids"},
        {
            "position": POSITION | {"description": "everything told up to it is in the list"},
            "eon_number": EON | {"description": "the eon of the newest checkpoint"},
        },
    ),
    "operator": (_object({"latest": {"type": "object"}, "confirmed": {"type": "object"}}), {}),
}


def _message(name: str, summary: str, payload: Object) -> Object:
    return {"name": name, "title": name, "summary": summary, "payload": payload}


def _requests() -> dict[str, Object]:
    return {
        f"request.{op}": _message(op, text, _object({"op": {"const": op}, "args": args}))
        for op, (args, text) in ARGUMENTS.items()
    }


def _answers() -> dict[str, Object]:
    found = {}
    for kind, (data, envelope) in ANSWERS.items():
        payload = _object(
            {
                "type": {"const": "response"},
                **envelope,
                "data": _object({"type": {"const": kind}, "data": data}),
            }
        )
        found[f"response.{kind}"] = _message(kind, "an answer", payload)
    return found


def _notifications() -> dict[str, Object]:
    found = {}
    previous = {"type": ["integer", "null"], "description": "the position of the frame before on this stream"}
    for kind, (pattern, _, events) in STREAM_KINDS.items():
        for event, (model, text) in events.items():
            told = _object({"type": {"const": event}, "data": model})
            payload = _object(
                {
                    "type": {"const": "notification"},
                    "position": POSITION,
                    "previous": previous,
                    "data": _object({"type": _text("the stream", pattern=pattern), "data": told}),
                }
            )
            found[f"{kind.partition('/')[0]}.{event}"] = _message(event, text, payload)
    return found


def _others() -> dict[str, Object]:
    explained = "; ".join(f"{code}: {text}" for code, text in REFUSALS.items())
    error = _object(
        {
            "type": {"const": "error"},
            "data": _object({"message": _text("what is wrong"), "cause": {"description": "the request"}}),
        },
        code=_text(explained, enum=[str(code) for code in REFUSALS]),
        stream=_text("the stream that cannot go on from `since`"),
        position=POSITION,
    )
    beat = _object(
        {
            "type": {"const": "heartbeat"},
            "position": POSITION | {"description": "everything up to it was sent"},
            "data": _object({"time": _integer("UNIX seconds")}),
        }
    )
    return {
        "error": _message("error", "a request was refused; the connection goes on", error),
        "heartbeat": _message("heartbeat", "a sign of life", beat),
    }


def document() -> Object:
    """The AsyncAPI document."""
    requests, told = _requests(), {**_answers(), **_notifications(), **_others()}

    def one_of(names: Mapping[str, Object]) -> Object:
        return {"message": {"oneOf": [{"$ref": f"#/components/messages/{name}"} for name in names]}}

    closing = "; ".join(f"{int(code)}: {text}" for code, text in CLOSE_CODES.items())
    return {
        "asyncapi": "2.6.0",
        "info": {
            "title": "NOCUST hub: streams",
            "version": "1",
            "description": f"Text frames, one JSON document each, of at most {MAX_FRAME} characters from clients."
            f" A connection has at most {MAX_STREAMS} streams. Close codes: {closing}",
        },
        "defaultContentType": "application/json",
        "x-close-codes": {str(int(code)): text for code, text in CLOSE_CODES.items()},
        "channels": {
            "/ws/": {
                "description": "Streams: "
                + "; ".join(f"{name}: {of[1]}" for name, of in STREAM_KINDS.items()),
                "publish": {"summary": "What clients send", **one_of(requests)},
                "subscribe": {"summary": "What the hub sends", **one_of(told)},
            }
        },
        "components": {"messages": {**requests, **told}},
    }
