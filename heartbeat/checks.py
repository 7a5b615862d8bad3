"""What is looked at again and again, by progress rather than by symptoms. Each function says what is wrong now: the
sentence for the operator, by what it is about; nothing when all is well. None of them changes anything.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache

from django.conf import settings
from django.db.models import Min
from django.utils import timezone

from contractor.models import ContractState
from heartbeat.models import Heartbeat, Progress
from ledger import replica
from ledger.models import ChainStatus, Outbox, RootCommitment, TokenPair
from ledger.orders_sql import ITS_ACCOUNT, ITS_WALLETS
from ledger.sql import fetch
from nocust.addresses import to_checksum
from restoration.holds import open_holds

Found = dict[str, str]
"""Sentences by key."""

CLOCKS = timedelta(minutes=1)
"""How far the clocks of hosts may be apart."""


def chain_status() -> ChainStatus | None:
    """Where the chain stands; None before it was read."""
    return ChainStatus.objects.first()


def halted(status: ChainStatus | None) -> Found:
    """The contract refuses to go on."""
    if status is None or not status.halted:
        return {}
    return {"": "the contract refuses to go on: users can only recover their funds"}


def hub_held() -> Found:
    """The database is not the one it was, and the operator has not decided."""
    found = open_holds()
    if not found:
        return {}
    since = f"{found[0].noticed:%Y-%m-%d %H:%M:%S} UTC"
    return {"": f"nothing is signed since {since}: {found[0].reason}; 'manage.py after_restore' decides"}


def no_block_applied(status: ChainStatus | None, now: datetime, awake: datetime) -> Found:
    """The newest applied block has been the same for too long. `awake` is when the hub began to be watched."""
    longest = settings.HUB_NO_BLOCK_SECONDS
    block = -1 if status is None else status.confirmed_block
    row, _ = Progress.objects.get_or_create(name="applied block", defaults={"value": block, "since": now})
    if row.value != block:
        row.value, row.since = block, now
        row.save()
    still = (now - max(row.since, awake)).total_seconds()
    if not longest or still <= longest:
        return {}
    if status is None:
        return {"": f"the chain has not been read for {still:.0f} s"}
    node = "unknown" if status.node_block is None else status.node_block
    return {
        "": f"block {block} is the newest one applied for {still:.0f} s; the node's newest block is {node}"
    }


def checkpoint_late(status: ChainStatus | None) -> Found:
    """Half of the eon is over, and the contract has not got its checkpoint. A halted contract takes none."""
    if status is None or status.halted:
        return {}
    era = status.head_block - status.first_block_of(status.eon)
    if 2 * era < status.blocks_per_eon:
        return {}
    newest = (
        ContractState.objects.filter(last_checkpoint_submission_eon__isnull=False).order_by("-block").first()
    )
    if newest is None or (newest.last_checkpoint_submission_eon or 0) >= status.eon:
        return {}
    made = "is made" if RootCommitment.objects.filter(eon_number=status.eon).exists() else "is not even made"
    left = status.blocks_per_eon - era
    return {"": f"checkpoint {status.eon} {made}, but not on chain, and {left} blocks of the eon are left"}


@cache
def expected_beats() -> frozenset[str]:
    """The beats that must come within seconds, by the schedule."""
    prefix = "heartbeat.tasks.heartbeat_"
    tasks = (str(entry["task"]) for entry in settings.CELERY_BEAT_SCHEDULE.values())
    return frozenset(task.removeprefix(prefix) for task in tasks if task.startswith(prefix))


def queue_lag(status: ChainStatus | None, now: datetime, awake: datetime) -> Found:
    """Beats that are late, events that nobody was told of, orders that nobody matched."""
    longest = timedelta(seconds=settings.HUB_QUEUE_LAG_SECONDS)
    found: Found = {}
    ended = dict(Heartbeat.objects.values_list("name", "ended"))
    for name in expected_beats():
        late = now - max(ended.get(name, awake), awake)
        if late > longest:
            found[f"task {name}"] = f"the periodic task {name} has not ended for {late.total_seconds():.0f} s"
    oldest = Outbox.objects.aggregate(oldest=Min("created"))["oldest"]
    if oldest is not None and now - oldest > longest:
        waiting = (now - oldest).total_seconds()
        found["events"] = f"the oldest event that subscribers have not been told of is {waiting:.0f} s old"
    orders = _waiting_orders(status)
    if orders is not None and now - orders > longest:
        found["waiting orders"] = f"an order waits for the matching since {orders:%Y-%m-%d %H:%M:%S} UTC"
    return found


def replica_not_read() -> Found:
    """History has to come from the database, which has other things to do."""
    reason = replica.trouble()
    return {"": f"history is read from the database, not from its replica: {reason}"} if reason else {}


def _waiting_orders(status: ChainStatus | None) -> datetime | None:
    """When the oldest order was placed that could be matched now and has not been looked at; an eon's orders wait
    for the checkpoint that begins it."""
    if status is None or status.halted or status.forked:
        return None
    begun = RootCommitment.objects.filter(eon_number=status.eon).values_list("time", flat=True).first()
    if begun is None or not TokenPair.objects.exists():
        return None
    ((oldest,),) = fetch(
        f"SELECT min(t.time) FROM ledger_transfer t {ITS_WALLETS}"  # noqa: S608  (constants)
        " JOIN ledger_tokenpair p ON (p.token_from_id, p.token_to_id) = (w.token_id, r.token_id) AND NOT p.paused"
        f" {ITS_ACCOUNT}"
        " WHERE t.swap AND NOT t.processed AND t.appended AND t.arrival IS NULL AND NOT t.cancelled"
        " AND t.eon_number = %s AND a.opening + a.deposited + a.gained + a.received + a.swapped - a.spent"
        " - a.withdrawn >= t.amount - t.prior_out - t.matched_out",
        [status.eon],
    )
    return None if oldest is None else max(oldest, begun)


def fills_differ(status: ChainStatus | None) -> Found:
    """Orders of the latest eon whose matched amounts are not the sums of their fills. One statement, hence one
    moment; it reads the fills since the eon began."""
    if status is None:
        return {}
    begun = RootCommitment.objects.filter(eon_number=status.eon).values_list("time", flat=True).first()
    since = datetime.fromtimestamp(0, timezone.get_default_timezone()) if begun is None else begun - CLOCKS
    rows = fetch(
        "WITH traded AS (SELECT m.* FROM ledger_token a JOIN ledger_token b ON a.id <> b.id JOIN ledger_matching m"
        " ON m.taker_token_id = a.id AND m.maker_token_id = b.id"
        " WHERE m.time >= %s AND m.eon_number = %s), sides AS ("
        " SELECT taker_id AS id, taker_gave AS gave, maker_gave AS got FROM traded"
        " UNION ALL SELECT maker_id, maker_gave, taker_gave FROM traded), sums AS ("
        " SELECT id, sum(gave) AS gave, sum(got) AS got FROM sides GROUP BY id)"
        " SELECT t.id, t.matched_out, t.matched_in, s.gave, s.got FROM sums s JOIN ledger_transfer t ON t.id = s.id"
        " WHERE (t.matched_out, t.matched_in) <> (s.gave, s.got)"
        " UNION ALL SELECT t.id, t.matched_out, t.matched_in, 0, 0 FROM ledger_transfer t"
        " WHERE t.eon_number = %s AND t.swap AND NOT t.processed AND (t.matched_out > 0 OR t.matched_in > 0)"
        " AND t.id NOT IN (SELECT s.id FROM sums s) ORDER BY 1 LIMIT 100",
        [since, status.eon, status.eon],
    )
    return {
        str(row): f"order row {row}: gave {out} and received {got}, its fills say {gave} and {received}"
        for row, out, got, gave, received in rows
    }


_STATES = (
    "SELECT w.address, t.address, a.eon_number, a.spent, a.gained, s.updated_spendings, s.updated_gains"
    " FROM ledger_account a LEFT JOIN LATERAL"
    " (SELECT * FROM ledger_activestate WHERE id = a.active_state_id LIMIT 1) s ON true"
    " JOIN ledger_wallet w ON w.id = a.wallet_id JOIN ledger_token t ON t.id = w.token_id"
    " WHERE a.eon_number BETWEEN %s AND %s AND (a.spent <> COALESCE(s.updated_spendings, 0)"
    " OR a.active_state_id IS NOT NULL AND s.operator_signature IS NULL"
    " OR s.updated_gains > a.gained + a.swapped"
    " OR COALESCE(s.updated_gains, 0) < a.gained AND NOT EXISTS (SELECT FROM ledger_transfer o"
    " WHERE o.wallet_id = a.wallet_id AND o.eon_number = a.eon_number"
    " AND o.sender_active_state_id = a.active_state_id AND o.recipient_finalization_active_state_id IS NOT NULL"
    " AND o.amount - o.matched_out = a.gained - s.updated_gains)) ORDER BY a.eon_number, a.wallet_id LIMIT 100"
)
"""Each state comes from the index, whatever the statistics say. The fulfilled state of an order in force may count
what the account keeps beside its counters, and what a finalised order left is only in the next state of its debit
wallet."""


def states_differ(status: ChainStatus | None) -> Found:
    """Accounts of the eons that no checkpoint has closed whose state in force is not that of their counters, or was
    not countersigned. One statement, hence one moment."""
    if status is None:
        return {}
    closed = RootCommitment.objects.filter(eon_number=status.eon).exists()
    found: Found = {}
    for row in fetch(_STATES, [status.eon - (not closed), status.eon]):
        wallet, token = to_checksum(bytes(row[0])), to_checksum(bytes(row[1]))
        eon, spent, gained, signed_spent, signed_gained = row[2:]
        found[f"{wallet} {token} {eon}"] = (
            f"{wallet} has spent {spent} and gained {gained} of {token} in eon {eon}, its state in force says"
            f" {signed_spent} and {signed_gained}"
        )
    return found
