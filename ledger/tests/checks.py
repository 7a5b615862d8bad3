"""What must hold of a stored ledger and of its checkpoints, checked from the rows alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.conf import settings

from ledger.managed import managed, of_all_history
from ledger.models import (
    Account,
    Deposit,
    ExclusiveBalanceAllotment,
    MinimumAvailableBalance,
    RootCommitment,
    Token,
    TokenCommitment,
    Transfer,
    Wallet,
    WithdrawalRequest,
)
from ledger.proofs import proofs
from ledger.store import chain_status
from ledger.tests.check_sets import check_sets, state_hash
from nocust.balances import verify_account_allotment
from nocust.encoding import ZERO_HASH
from nocust.leaves import transfer_leaf
from nocust.messages import balance_marker_hash
from nocust.passive import passive_tree, transfer_bounds
from nocust.signatures import is_valid

COUNTED = (
    "Account",
    "ActiveState",
    "Deposit",
    "ExclusiveBalanceAllotment",
    "Matching",
    "MinimumAvailableBalance",
    "Outbox",
    "RootCommitment",
    "TokenCommitment",
    "Transfer",
    "TreeChunk",
    "Wallet",
)


def row_counts() -> dict[str, int]:
    """How many rows each of the ledger's tables has."""
    from ledger import models

    return {name: getattr(models, name).objects.count() for name in COUNTED}


def account_rows() -> list[Any]:
    """All accounts, to compare before and after."""
    return list(Account.objects.order_by("eon_number", "wallet_id").values())


def check_ledger() -> None:
    """Money is conserved in the latest eon, every history of an eon adds up and every state in force is signed."""
    _check_conservation()
    for eon in sorted(set(Transfer.objects.values_list("eon_number", flat=True))):
        _check_eon(eon)
    for marker in MinimumAvailableBalance.objects.select_related("wallet__token"):
        check_marker(marker)


def balance(wallet: Wallet) -> int:
    """What the wallet owns by its newest account, or by an allotment after it; 0 without any."""
    account = Account.objects.filter(wallet=wallet).order_by("-eon_number").first()
    allotment = ExclusiveBalanceAllotment.objects.filter(wallet=wallet).order_by("-eon_number").first()
    if allotment is not None and (account is None or allotment.eon_number > account.eon_number):
        return int(allotment.right - allotment.left)
    return 0 if account is None else account.available


def _check_conservation() -> None:
    for token in Token.objects.all():
        held = sum(balance(wallet) for wallet in Wallet.objects.filter(token=token))
        credited = sum(row.amount for row in Deposit.objects.filter(token=token, wallet__isnull=False))
        asked = sum(row.amount for row in WithdrawalRequest.objects.filter(token=token, slashed=False))
        written_off = sum(row.shortfall for row in TokenCommitment.objects.filter(token=token))
        assert held == credited - asked + written_off, token


def check_marker(marker: MinimumAvailableBalance) -> None:
    """The contract would take it from its owner."""
    wallet, contract = marker.wallet, settings.HUB_LQD_CONTRACT_ADDRESS
    message = balance_marker_hash(
        contract, wallet.token.address, wallet.address, marker.eon_number, marker.amount
    )
    assert is_valid(message, marker.signature, wallet.address), marker.pk


def _check_eon(eon: int) -> None:
    """The histories of an eon: what was signed, and what was received in adjacent intervals."""
    check_sets(eon)
    received: dict[int, list[Transfer]] = defaultdict(list)
    rows = Transfer.objects.filter(eon_number=eon, swap=False).select_related("wallet", "recipient")
    for row in rows.order_by("id"):
        received[row.recipient_id].append(row)
        assert row.wallet.token_id == row.recipient.token_id
    for wallet, transfers in received.items():
        in_order = sorted(transfers, key=lambda row: (row.position or 0, row.pk))
        bounds = transfer_bounds([row.amount for row in in_order])
        assert [row.position for row in in_order] == bounds[:-1], f"gaps or overlaps of wallet {wallet}"
        assert Account.objects.get(wallet_id=wallet, eon_number=eon).received == bounds[-1]


def check_checkpoint(eon: int) -> int:
    """Verify the proof of every wallet that had registered before `eon`, as the contract does, and that it holds
    what the wallet owned as the eon began. Gives the number of proofs."""
    commitment = RootCommitment.objects.get(eon_number=eon)
    wallets = list(Wallet.objects.filter(registration_eon_number__lt=eon).select_related("token"))
    found = proofs((wallet.pk, eon) for wallet in wallets)
    assert len(found) == len(wallets)
    totals: dict[int, int] = defaultdict(int)
    for wallet in wallets:
        proof = found[wallet.pk, eon]
        row = proof.allotment
        account = Account.objects.filter(wallet=wallet, eon_number__lt=eon).order_by("-eon_number").first()
        owned = 0 if account is None else account.available
        assert row.right - row.left == max(owned, 0)
        total = verify_account_allotment(
            settings.HUB_LQD_CONTRACT_ADDRESS,
            wallet.token.address,
            wallet.address,
            _passive_root(wallet, eon - 1),
            row.passive_amount,
            row.passive_marker,
            _state_checksum(wallet, eon - 1),
            trail=wallet.trail_identifier,
            token_trail=wallet.token.trail,
            root=commitment.merkle_root,
            chain=proof.path.hashes,
            membership_chain=proof.membership,
            values=proof.path.values,
            left=row.left,
            right=row.right,
        )
        token_commitment = TokenCommitment.objects.get(root_commitment=commitment, token=wallet.token)
        assert total == token_commitment.upper_bound
        totals[wallet.token_id] += row.right - row.left
    for token_commitment in TokenCommitment.objects.filter(root_commitment=commitment):
        assert totals[token_commitment.token_id] == token_commitment.wallet_upper_bound
        assert token_commitment.upper_bound - token_commitment.wallet_upper_bound == _unclaimed(
            token_commitment.token_id, eon
        )
        token = token_commitment.token
        assert managed(token, eon, chain_status()) == of_all_history(token, eon, chain_status())
    return len(found)


def _passive_root(wallet: Wallet, eon: int) -> bytes:
    rows = list(
        Transfer.objects.filter(recipient=wallet, eon_number=eon, passive=True)
        .select_related("wallet")
        .order_by("position", "id")
    )
    if not rows:
        return ZERO_HASH
    trail = wallet.trail_identifier
    leaves = [
        transfer_leaf(row.wallet.address, row.amount, trail, row.nonce, row.position or 0) for row in rows
    ]
    return passive_tree(leaves, transfer_bounds([row.amount for row in rows])).root


def _state_checksum(wallet: Wallet, eon: int) -> bytes:
    account = Account.objects.filter(wallet=wallet, eon_number=eon).select_related("active_state").first()
    if account is None or account.active_state is None:
        return ZERO_HASH
    assert account.active_state.operator_signature is not None
    return state_hash(wallet, eon, account.active_state)


def _unclaimed(token: int, eon: int) -> int:
    """Deposits of blocks before the eon that no wallet owned when it began."""
    first = chain_status().first_block_of(eon)
    rows = Deposit.objects.filter(token_id=token, block__lt=first)
    return sum(row.amount for row in rows if row.wallet_id is None or row.eon_number >= eon)
