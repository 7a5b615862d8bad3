"""Reading, locking and writing the engine's accounts set-wise."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import zip_longest

from ledger.engine import Account, Key, Owner
from ledger.fields import split_hashes
from ledger.kept_plans import Call, Kept, run
from ledger.sql import Row, array, join
from nocust.merkle import Peaks

AVAILABLE = "(a.opening + a.deposited + a.gained + a.received + a.swapped - a.spent - a.withdrawn)"

COLUMNS = (
    "wallet_id, eon_number, received, opening, deposited, withdrawn, spent, gained, swapped, passive_marker,"
    " set_size, set_peaks, tail, active_state_id"
)
_TYPES = [*2 * ["bigint"], *8 * ["numeric"], "bigint", "bytea", "bytea", "bigint"]
_VALUES = COLUMNS.removeprefix("wallet_id, eon_number, ").split(", ")


_ROWS = f"unnest({', '.join(f'${number}' for number in range(1, len(_TYPES) + 1))}) n ({COLUMNS})"
_CHANGE = Kept(
    "change_accounts",
    [f"{kind}[]" for kind in _TYPES],
    "WITH changed AS (UPDATE ledger_account a"  # noqa: S608  (constants)
    f" SET {', '.join(f'{column} = COALESCE(n.{column}, a.{column})' for column in _VALUES)}"
    f" FROM {_ROWS} WHERE a.wallet_id = n.wallet_id AND a.eon_number = n.eon_number RETURNING 1)"
    " SELECT CASE count(*) WHEN cardinality($1) THEN 0 ELSE (count(*) || ' accounts were there')::int END"
    " FROM changed",
)
"""Sets the columns of accounts that are not null in the given rows. What is null stays: arrays that end early leave
it so. An error, that of a text which is no number, says that some accounts are not there."""
_ADD = Kept(
    "add_accounts",
    [f"{kind}[]" for kind in _TYPES],
    f"INSERT INTO ledger_account ({COLUMNS}) SELECT * FROM {_ROWS}",  # noqa: S608  (constants)
)

LOCK = Kept(
    "lock_wallets",
    ["bigint[]"],
    "SELECT id FROM ledger_wallet WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
)
_AMOUNTS = _VALUES[:8]
ACCOUNTS = (
    f"SELECT wallet_id, eon_number, concat_ws(' ', {', '.join(_AMOUNTS)}),"  # noqa: S608  (constants)
    " set_size, set_peaks, tail, active_state_id FROM ledger_account"
    " WHERE eon_number = ANY({eons}) AND wallet_id = ANY({wallets})"
)
"""The amounts of an account, none of which is null, as one text: to make a decimal number of each first cost 6 µs a
transfer."""
_READ = Kept("read_accounts", ["bigint[]", "bigint[]"], ACCOUNTS.format(eons="$1", wallets="$2"))


def _of_wallet(value: str, table: str, eon: str) -> str:
    """A value of the row that the wallet w has in a table in an eon, null without one."""
    return f"(SELECT {value} FROM {table} a WHERE a.eon_number = {eon} AND a.wallet_id = w.id)"  # noqa: S608  (constants)


def available_of_wallet(eon: str) -> str:
    """The SQL of what the wallet w may spend by its account in an eon, null without one.

    This and `allotted_of_wallet` are subqueries, so that each wallet's row comes from the index. Of an eon that its
    statistics have not seen PostgreSQL supposes that it has one row, and would look through all of them for each
    wallet of a join.
    """
    return _of_wallet(AVAILABLE, "ledger_account", eon)


def allotted_of_wallet(eon: str) -> str:
    """The SQL of what the wallet w was allotted as an eon began, null without an allotment."""
    return _of_wallet('a."right" - a."left"', "ledger_exclusivebalanceallotment", eon)


_OPENINGS = Kept(
    "openings",
    ["bigint[]", "bigint"],
    f"SELECT w.id, COALESCE({allotted_of_wallet('$2')}, {available_of_wallet('$2 - 1')},"  # noqa: S608
    f" {allotted_of_wallet('$2 - 1')}, 0) FROM unnest($1) w(id)",
)


def lock_wallets(wallets: Sequence[int]) -> None:
    """Hold the wallets, given in ascending order, until the transaction ends. One order for the whole system, so
    that nobody waits for somebody who waits for them."""
    run(LOCK(array(wallets)))


def load_accounts(owners: Mapping[int, Owner], eons: Iterable[int]) -> dict[Key, Account]:
    """The accounts of all `owners` in all `eons`, and those in the eons after where they exist."""
    accounts = existing_accounts(owners, eons)
    open_accounts(accounts, owners, eons)
    return accounts


def existing_accounts(owners: Mapping[int, Owner], eons: Iterable[int]) -> dict[Key, Account]:
    """The accounts that there are of `owners` in `eons` and the eons after."""
    rows = run(_READ(array(and_next(eons)), array(owners)))
    return {row[:2]: account_of(row, owners) for row in rows}


def and_next(eons: Iterable[int]) -> set[int]:
    """The eons, and the one after each."""
    return {eon for known in eons for eon in (known, known + 1)}


def account_of(row: Row, owners: Mapping[int, Owner]) -> Account:
    """The account in a row of `ACCOUNTS`."""
    wallet, eon, amounts, size, peaks, tail, state = row
    received, opening, deposited, withdrawn, spent, gained, swapped, marker = map(int, amounts.split())
    return Account(
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


def open_accounts(accounts: dict[Key, Account], owners: Mapping[int, Owner], eons: Iterable[int]) -> None:
    """Add those of all `owners` in all `eons` that do not exist yet: they open with what the wallet had at the end
    of the eon before, which is what the eon's checkpoint allots once there is one: there nobody has less than
    nothing."""
    for eon in sorted(eons):
        missing = [wallet for wallet in owners if (wallet, eon) not in accounts]
        for wallet, opening in _openings(missing, eon).items():
            accounts[wallet, eon] = Account(owner=owners[wallet], eon=eon, opening=opening)


def _openings(wallets: Sequence[int], eon: int) -> dict[int, int]:
    if not wallets:
        return {}
    return {wallet: int(opening) for wallet, opening in run(_OPENINGS(array(wallets), eon))}


def saving(
    changed: Mapping[Key, Account],
    newest_state: Mapping[Key, int],
    existing: Container[Key],
    received: Container[Key] = (),
) -> list[Call]:
    """What writes the accounts: those `existing` are changed, the others added. Of those in `received` nothing but
    what they received has changed. `newest_state` names the active states written for accounts in this batch."""
    there: list[Row] = []
    credited: list[Row] = []
    new: list[Row] = []
    for key in sorted(changed):
        if key not in existing:
            new.append(_row(key, changed[key], newest_state))
        elif key in received:
            credited.append((*key, changed[key].received))
        else:
            there.append(_row(key, changed[key], newest_state))
    calls = [_ADD(*map(array, zip(*new, strict=True)))] if new else []
    if there or credited:
        columns = [*zip(*there, strict=True)] or len(_TYPES) * [()]
        parts = zip_longest(columns, zip(*credited, strict=True), fillvalue=())
        calls.append(_CHANGE(*(array((*values, *more)) for values, more in parts)))
    return calls


def _row(key: Key, account: Account, newest_state: Mapping[Key, int]) -> Row:
    return (
        *key,
        account.received,
        account.opening,
        account.deposited,
        account.withdrawn,
        account.spent,
        account.gained,
        account.swapped,
        account.passive_marker,
        account.closed.size,
        join(account.closed.hashes),
        account.tail,
        newest_state.get(key, account.active_state),
    )
