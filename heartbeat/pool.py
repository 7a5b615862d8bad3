"""Whether what wallets own is what the contract holds for them: the ledger's sums, and the contract's balance."""

from __future__ import annotations

import contracts
from contractor.chain import chain
from contractor.interface import CONTRACT, Contract
from heartbeat.checks import Found
from ledger.accounts_sql import allotted_of_wallet, available_of_wallet
from ledger.models import ChainStatus
from ledger.sql import fetch
from nocust.addresses import to_checksum

OWNED = f"""
WITH owned AS (
    SELECT w.token_id, sum(COALESCE({available_of_wallet("%(eon)s")}, {allotted_of_wallet("%(eon)s")},
        {available_of_wallet("%(before)s")}, {allotted_of_wallet("%(before)s")}, 0)) AS amount
    FROM ledger_wallet w GROUP BY w.token_id
), deposits AS (
    SELECT token_id, sum(amount) AS amount FROM ledger_deposit WHERE wallet_id IS NOT NULL GROUP BY token_id
), requests AS (
    SELECT token_id, sum(amount) AS amount FROM ledger_withdrawalrequest
    WHERE wallet_id IS NOT NULL AND NOT slashed GROUP BY token_id
), written AS (
    SELECT token_id, sum(shortfall) AS amount FROM ledger_tokencommitment GROUP BY token_id
)
SELECT t.address, COALESCE(o.amount, 0),
    COALESCE(d.amount, 0) - COALESCE(r.amount, 0) + COALESCE(v.amount, 0), s.confirmed_block
FROM ledger_token t CROSS JOIN ledger_chainstatus s
LEFT JOIN owned o ON o.token_id = t.id LEFT JOIN deposits d ON d.token_id = t.id
LEFT JOIN requests r ON r.token_id = t.id LEFT JOIN written v ON v.token_id = t.id
ORDER BY t.trail
"""  # noqa: S608  (composed of constants)
"""By token: what wallets own by their newest account or allotment; what they must own: deposits credited, less
withdrawals requested, plus debts written off; as of which block. One statement sees one moment of all of it."""

HELD = """
WITH deposits AS (
    SELECT token_id, sum(amount) AS amount FROM ledger_deposit GROUP BY token_id
), payments AS (
    SELECT r.token_id, sum(p.amount) AS amount
    FROM ledger_withdrawal p JOIN ledger_withdrawalrequest r ON r.id = p.request_id GROUP BY r.token_id
)
SELECT t.address, COALESCE(d.amount, 0) - COALESCE(p.amount, 0), s.confirmed_block
FROM ledger_token t CROSS JOIN ledger_chainstatus s
LEFT JOIN deposits d ON d.token_id = t.id LEFT JOIN payments p ON p.token_id = t.id
ORDER BY t.trail
"""
"""By token: what the contract must hold, deposits less payments; as of which block. Reads no balances."""


def ledger_unbalanced(status: ChainStatus | None) -> Found:
    """Tokens of which wallets own more or less than was deposited for them and not asked back."""
    if status is None:
        return {}
    found: Found = {}
    eon = status.eon
    for address, owned, due, block in fetch(OWNED, {"eon": eon, "before": eon - 1}):
        if owned != due:
            name = to_checksum(bytes(address))
            found[name] = (
                f"wallets own {owned} of {name}, deposits less withdrawal requests up to block {block} are {due}"
            )
    return found


def pool_short(status: ChainStatus | None) -> Found:
    """Tokens of which the contract holds less than was deposited and not paid out. What users take out of a halted
    contract by themselves is not in the ledger. Raises NodeError."""
    if status is None or status.halted:
        return {}
    contract = chain()
    found: Found = {}
    for token, amount, block in due():
        held = _held(contract, token, status.eon_of(block), block)
        if held < amount:
            name = to_checksum(token)
            found[name] = (
                f"the contract holds {held} of {name} at block {block}, {amount} was deposited and not paid out"
            )
    return found


def _held(contract: Contract, token: bytes, eon: int, block: int) -> int:
    """What the contract holds of a token for wallets, without fees, at a block."""
    node = contract.node
    views = node.web3.eth.contract(
        address=node.web3.to_checksum_address(contract.address), abi=contracts.load(CONTRACT).abi
    )
    view = views.functions["getServerContractLedgerStateVariables"](eon, to_checksum(token))
    return int(node.call(view, block=block)[3])


def due() -> list[tuple[bytes, int, int]]:
    """By token, what the contract must hold at least, and as of which block."""
    return [(bytes(address), int(amount), block) for address, amount, block in fetch(HELD)]
