"""What must hold of wallets' transaction sets and counters in an eon, transfers and orders mixed, checked from the
rows alone: each state that somebody signed is that of the history up to it (`spec/crypto.md` §6, §7)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from ledger.models import Account, ActiveState, Matching, RootCommitment, Transfer, Wallet
from nocust.leaves import COMPLETE_START, OPEN_POSITION, swap_leaf, transfer_leaf
from nocust.matching_orders import within_limits
from nocust.merkle import MerkleTree
from nocust.messages import active_state_hash
from nocust.signatures import is_valid

STATES = (
    "sender_active_state",
    "recipient_active_state",
    "recipient_fulfillment_active_state",
    "sender_cancellation_active_state",
    "recipient_cancellation_active_state",
    "recipient_finalization_active_state",
)


def state_hash(wallet: Wallet, eon: int, state: ActiveState) -> bytes:
    """What owner and operator signed."""
    return active_state_hash(
        settings.HUB_LQD_CONTRACT_ADDRESS,
        wallet.token.address,
        wallet.address,
        wallet.trail_identifier,
        eon,
        state.tx_set_hash,
        state.updated_spendings,
        state.updated_gains,
    )


def leaf(row: Transfer, position: int) -> bytes:
    """A transfer in its sender's set."""
    to = row.recipient
    return transfer_leaf(to.address, row.amount, to.trail_identifier, row.nonce, position)


def order_leaf(row: Transfer, start: int) -> bytes:
    """An order in the set of one of its wallets."""
    return swap_leaf(
        row.wallet.token.address,
        row.recipient.token.address,
        row.recipient.trail_identifier,
        row.amount,
        _int(row.amount_swapped),
        start,
        row.nonce,
    )


@dataclass
class History:
    """A wallet's set and counters in the making: what is closed, and the newest state in force."""

    account: Account
    leaves: list[bytes] = field(default_factory=list)
    spent: int = 0
    gained: int = 0
    swapped: int = 0
    marker: int = 0
    state: ActiveState | None = None

    def expect(self, state: ActiveState, last: bytes, spent: int, gained: int) -> None:
        """`state` is one with these counters whose set's newest entry is `last`."""
        tree = MerkleTree([*self.leaves, last])
        assert (state.updated_spendings, state.updated_gains) == (spent, gained), state.pk
        assert state.tx_set_hash == tree.root, state.pk
        place = len(self.leaves)
        assert (state.tx_set_index, list(state.tx_set_proof)) == (place, tree.proof(place)), state.pk

    def check_account(self) -> None:
        """The stored account is what the history comes to."""
        account = self.account
        counted = (account.spent, account.gained, account.swapped, account.set_size, account.passive_marker)
        closed = len(self.leaves) - 1
        assert counted == (self.spent, self.gained, self.swapped, closed, self.marker), account.wallet
        assert account.tail == self.leaves[-1]
        assert self.state is not None
        assert account.active_state_id == self.state.pk
        assert self.state.operator_signature is not None


def check_sets(eon: int) -> None:
    """Check the sets of all wallets in the eon, and all that the eon's orders say of themselves."""
    entries: dict[int, list[tuple[int, Transfer]]] = defaultdict(list)
    joined = ("wallet__token", "recipient__token", *STATES)
    for row in Transfer.objects.filter(eon_number=eon).select_related(*joined).order_by("id"):
        _check_signatures(row)
        if row.swap:
            _check_order(row)
        if not row.appended:
            continue
        entries[row.wallet_id].append((row.sender_active_state.tx_set_index, row))
        if row.swap:
            assert row.recipient_active_state is not None
            entries[row.recipient_id].append((row.recipient_active_state.tx_set_index, row))
    touched = set(
        Account.objects.filter(eon_number=eon, tail__isnull=False).values_list("wallet_id", flat=True)
    )
    assert touched == set(entries)
    for wallet, found in entries.items():
        found.sort(key=lambda entry: entry[0])
        assert [index for index, _ in found] == list(range(len(found))), f"set of wallet {wallet}"
        history = History(Account.objects.get(wallet_id=wallet, eon_number=eon))
        for _, row in found:
            assert not history.swapped, "an order that is in force is the last entry"
            if not row.swap:
                _add_transfer(history, row)
            elif row.wallet_id == wallet:
                _add_debit(history, row)
            else:
                _add_credit(history, row)
        history.check_account()


def _add_transfer(history: History, row: Transfer) -> None:
    """Each signed state is that of the history up to it, the newest transfer open."""
    state, position = row.sender_active_state, _int(row.position)
    history.spent += row.amount
    history.expect(state, leaf(row, OPEN_POSITION), history.spent, history.gained)
    history.leaves.append(leaf(row, position))
    history.state, history.marker = state, position


def _add_debit(history: History, row: Transfer) -> None:
    """The whole amount counts as spent; what is left of it comes back when the order is closed."""
    start = row.amount if _is_later(row) else history.account.opening
    assert row.sender_starting_balance == start
    history.spent += row.amount
    state = row.sender_active_state
    history.expect(state, order_leaf(row, start), history.spent, history.gained)
    rest = row.amount - _int(row.matched_out)
    final = order_leaf(row, history.account.opening)
    cancellation = row.sender_cancellation_active_state
    if cancellation is not None:
        history.expect(cancellation, final, history.spent, history.gained + rest)
        state = cancellation
    if _is_closed(row):
        history.gained += rest
    else:
        history.swapped = rest
    history.leaves.append(final)
    history.state = state


def _add_credit(history: History, row: Transfer) -> None:
    """Nothing counts as gained; what was matched does when the order is closed, or, once the fulfilled state is in
    force, the amount that it wanted."""
    state, fulfilled = row.recipient_active_state, row.recipient_fulfillment_active_state
    assert state is not None
    assert fulfilled is not None
    start = 0 if _is_later(row) else history.account.opening
    assert row.recipient_starting_balance == start
    wanted, got = _int(row.amount_swapped), _int(row.matched_in)
    done = order_leaf(row, COMPLETE_START)
    history.expect(state, order_leaf(row, start), history.spent, history.gained)
    history.expect(fulfilled, done, history.spent, history.gained + wanted)
    if fulfilled.operator_signature is not None:
        state = fulfilled
    for closing in (row.recipient_cancellation_active_state, row.recipient_finalization_active_state):
        if closing is not None:
            history.expect(closing, done, history.spent + wanted, history.gained + got + wanted)
            state = closing
    if _is_closed(row):
        history.spent += wanted
        history.gained += got + wanted
    else:
        history.swapped = got
    closed = row.complete or _is_closed(row)
    history.leaves.append(done if closed else order_leaf(row, history.account.opening))
    history.state = state


def _is_closed(row: Transfer) -> bool:
    return bool(row.recipient_cancellation_active_state_id or row.recipient_finalization_active_state_id)


def _is_later(row: Transfer) -> bool:
    """Whether it is an order's row of an eon after its first."""
    return Transfer.objects.filter(tx_id=row.tx_id, eon_number__lt=row.eon_number).exists()


def _check_signatures(row: Transfer) -> None:
    """Owner and operator signed what is in force; the operator nothing else. Signatures of an order's later eons
    count once they are verified."""
    for name in STATES:
        state: ActiveState | None = getattr(row, name)
        if state is None:
            continue
        wallet = row.wallet if name.startswith("sender") else row.recipient
        message = state_hash(wallet, row.eon_number, state)
        if row.appended or row.verified:
            assert is_valid(message, state.wallet_signature, wallet.address), (name, row.pk)
        in_force = row.appended
        if name == "recipient_fulfillment_active_state":
            in_force = row.complete and _int(row.matched_in) >= _int(row.amount_swapped)
        if in_force:
            assert state.operator_signature is not None
            assert is_valid(message, state.operator_signature, settings.HUB_OWNER_ACCOUNT_ADDRESS)
        else:
            assert state.operator_signature is None, (name, row.pk)


def _check_order(row: Transfer) -> None:
    """What an order's row says of itself, of the row before it and of its fills."""
    assert row.wallet.address == row.recipient.address
    out, got = _int(row.matched_out), _int(row.matched_in)
    wanted = _int(row.amount_swapped)
    fills = [(fill.taker_gave, fill.maker_gave) for fill in Matching.objects.filter(taker=row)]
    fills += [(fill.maker_gave, fill.taker_gave) for fill in Matching.objects.filter(maker=row)]
    assert (out, got) == (sum(gave for gave, _ in fills), sum(took for _, took in fills)), row.pk
    if not row.appended:
        assert (out, got, row.complete) == (0, 0, False)
        assert row.voided or not row.processed
        return
    assert row.verified
    before = Transfer.objects.filter(tx_id=row.tx_id, eon_number=row.eon_number - 1).first()
    prior = (0, 0)
    if before is not None:
        assert before.processed
        assert not before.complete
        prior = (
            _int(before.prior_out) + _int(before.matched_out),
            _int(before.prior_in) + _int(before.matched_in),
        )
    assert (_int(row.prior_out), _int(row.prior_in)) == prior
    given, received = prior[0] + out, prior[1] + got
    limits: Any = row
    assert within_limits(limits, given, received), row.pk
    assert row.complete == (given == row.amount or (not row.sell_order and received == wanted))
    ended = _is_closed(row) or RootCommitment.objects.filter(eon_number=row.eon_number + 1).exists()
    assert row.processed == ended, row.pk


def _int(value: int | None) -> int:
    assert value is not None
    return int(value)
