"""Reading, locking and writing the engine's accounts set-wise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ledger.engine import Account, Key, Owner
from ledger.fields import split_hashes
from ledger.kept_plans import Call, Kept, run
from ledger.sql import array, copy, join
from nocust.merkle import Peaks

AVAILABLE = "(a.opening + a.deposited + a.gained + a.received + a.swapped - a.spent - a.withdrawn)"

COLUMNS = (
    "wallet_id, eon_number, opening, deposited, withdrawn, spent, gained, received, swapped, passive_marker,"
    " set_size, set_peaks, tail, active_state_id"
)
_TYPES = [*2 * ["bigint"], *8 * ["numeric"], "bigint", "bytea", "bytea", "bigint"]
_VALUES = COLUMNS.removeprefix("wallet_id, eon_number, ").split(", ")


def _update(name: str, columns: Sequence[str]) -> Kept:
    """Sets the columns of accounts, and returns the keys of those that there are."""
    known = dict(zip(COLUMNS.split(", "), _TYPES, strict=True))
    taken = ["wallet_id", "eon_number", *columns]
    types = [f"{known[column]}[]" for column in taken]
    rows = ", ".join(f"${number}" for number in range(1, len(types) + 1))
    return Kept(
        name,
        types,
        f"UPDATE ledger_account a SET {', '.join(f'{column} = n.{column}' for column in columns)}"  # noqa: S608
        f" FROM unnest({rows}) n ({', '.join(taken)}) WHERE a.wallet_id = n.wallet_id"
        " AND a.eon_number = n.eon_number RETURNING a.wallet_id, a.eon_number",
    )


_UPDATE = _update("update_accounts", _VALUES)

LOCK = Kept(
    "lock_wallets",
    ["bigint[]"],
    "SELECT id FROM ledger_wallet WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
)
_AMOUNTS = _VALUES[:8]
_READ = Kept(
    "read_accounts",
    ["bigint[]", "bigint[]"],
    f"SELECT wallet_id, eon_number, concat_ws(' ', {', '.join(_AMOUNTS)}),"  # noqa: S608  (constants)
    " set_size, set_peaks, tail, active_state_id FROM ledger_account"
    " WHERE eon_number = ANY($1) AND wallet_id = ANY($2)",
)
"""The amounts of an account, none of which is null, as one text: to make a decimal number of each first cost 6 µs a
transfer."""


_OPENINGS = Kept(
    "openings",
    ["bigint[]", "bigint"],
    f'SELECT w.id, COALESCE(n."right" - n."left", {AVAILABLE}, x."right" - x."left", 0)'  # noqa: S608
    " FROM unnest($1) w(id)"
    " LEFT JOIN ledger_exclusivebalanceallotment n ON n.wallet_id = w.id AND n.eon_number = $2"
    " LEFT JOIN ledger_account a ON a.wallet_id = w.id AND a.eon_number = $2 - 1"
    " LEFT JOIN ledger_exclusivebalanceallotment x ON x.wallet_id = w.id AND x.eon_number = $2 - 1",
)


def lock_wallets(wallets: Sequence[int]) -> None:
    """Hold the wallets, given in ascending order, until the transaction ends. One order for the whole system, so
    that nobody waits for somebody who waits for them."""
    run(LOCK(array(wallets)))


def load_accounts(owners: Mapping[int, Owner], eons: Iterable[int]) -> dict[Key, Account]:
    """The accounts of all `owners` in all `eons`, and those in the eons after where they exist. An account that
    does not exist yet opens with what the wallet had at the end of the eon before, which is what the eon's
    checkpoint allots once there is one: there nobody has less than nothing."""
    wanted = sorted(eons)
    wallets = sorted(owners)
    read = sorted({eon for known in wanted for eon in (known, known + 1)})
    rows = run(_READ(array(read), array(wallets)))
    accounts: dict[Key, Account] = {}
    for wallet, eon, amounts, size, peaks, tail, state in rows:
        opening, deposited, withdrawn, spent, gained, received, swapped, marker = map(int, amounts.split())
        accounts[wallet, eon] = Account(
            owner=owners[wallet],
            eon=eon,
            opening=opening,
            deposited=deposited,
            withdrawn=withdrawn,
            spent=spent,
            gained=gained,
            received=received,
            swapped=swapped,
            passive_marker=marker,
            closed=Peaks.of(size, tuple(split_hashes(peaks))),
            tail=None if tail is None else bytes(tail),
            active_state=state,
        )
    for eon in wanted:
        missing = [wallet for wallet in wallets if (wallet, eon) not in accounts]
        for wallet, opening in _openings(missing, eon).items():
            accounts[wallet, eon] = Account(owner=owners[wallet], eon=eon, opening=opening)
    return accounts


def _openings(wallets: Sequence[int], eon: int) -> dict[int, int]:
    if not wallets:
        return {}
    return {wallet: int(opening) for wallet, opening in run(_OPENINGS(array(wallets), eon))}


def save_accounts(
    changed: Mapping[Key, Account], newest_state: Mapping[Key, int], before: Sequence[Call] = ()
) -> None:
    """Insert or update the accounts; `newest_state` names the active states written for them in this batch. What is
    to run `before` shares the round trip."""
    if not changed:
        if before:
            run(*before)
        return
    rows = []
    for key in sorted(changed):
        account = changed[key]
        rows.append(
            (
                *key,
                account.opening,
                account.deposited,
                account.withdrawn,
                account.spent,
                account.gained,
                account.received,
                account.swapped,
                account.passive_marker,
                account.closed.size,
                join(account.closed.hashes),
                account.tail,
                newest_state.get(key, account.active_state),
            )
        )
    # Most accounts exist, and an INSERT that turns into an UPDATE has the triggers run twice.
    updated = run(*before, _UPDATE(*map(array, zip(*rows, strict=True))))
    if len(updated) < len(rows):
        known = set(updated)
        copy("ledger_account", COLUMNS, [row for row in rows if row[:2] not in known])
