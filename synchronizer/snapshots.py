"""What a client begins with: states as they are, each with the position of the streams up to which it holds all."""

from __future__ import annotations

import orjson

from auditor import render, selectors
from ledger import positions
from ledger.store import chain_status


def wallet_state(token: bytes, address: bytes, eon: int | None) -> tuple[int, int, bytes] | None:
    """The position up to which everything told is in a wallet's state, the state's eon, and the state; None if
    there is no such wallet. They are read in this order, so that neither is too new: of the latest eon, no
    checkpoint told up to there is of a later one. Raises HubNotReadyError and ArchivedError."""
    position = positions.told_until()
    wallet = selectors.find_wallet(token, address)
    if wallet is None:
        return None
    number = eon if eon is not None and eon >= 0 else chain_status().eon + (eon or 0)
    return position, number, orjson.dumps(render.wallet_state(selectors.wallet_history(wallet, number)))


def hub_positions() -> bytes:
    """The newest block and eon, seen and confirmed. Raises HubNotReadyError."""
    return orjson.dumps(render.positions(chain_status()))
