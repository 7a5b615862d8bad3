"""What the hub as a whole is like now, for people (/status/) and for Prometheus (/metrics). It comes from
PostgreSQL and the broker in a few statements, at most once in CACHE_SECONDS a process; nothing private is in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import Count, Min
from django.utils import timezone

from contractor.alarm_catalogue import Severity, kind_of
from contractor.models import Alarm, EthereumTransaction
from heartbeat.channels import runbook
from heartbeat.models import Heartbeat, Notice
from ledger.models import ChainStatus, Challenge, Outbox, RootCommitment, Token
from ledger.sql import fetch
from ledger.store import stopped
from operator_api.error_codes import ErrorCode

logger = logging.getLogger(__name__)

CACHE_SECONDS = 2.0
BROKER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """The alarms of one subject that stand."""

    subject: str
    cases: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Beat:
    """A periodic task; times in seconds."""

    name: str
    age: float
    runs: int
    failures: int
    seconds: float
    slowest: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The hub at one moment. Ages in seconds."""

    time: datetime
    chain: ChainStatus | None
    checkpoint: int | None
    alarms: tuple[Standing, ...]
    beats: tuple[Beat, ...]
    queues: dict[str, int]
    oldest_event: float
    wallets: dict[str, int] = field(default_factory=dict)
    transfers: int = 0


_kept: tuple[float, Snapshot] | None = None
_lock = Lock()


def snapshot() -> Snapshot:
    """The hub as it was at most CACHE_SECONDS ago. Raises django.db.Error."""
    global _kept  # noqa: PLW0603 (a cache of one process; Redis may be what is down)
    with _lock:
        if _kept is None or time.monotonic() - _kept[0] > CACHE_SECONDS:
            _kept = time.monotonic(), _take()
        return _kept[1]


def forget() -> None:
    """Look anew, for tests."""
    global _kept  # noqa: PLW0603
    _kept = None


def _take() -> Snapshot:
    now = timezone.now()
    chain = ChainStatus.objects.first()
    oldest = Outbox.objects.aggregate(oldest=Min("created"))["oldest"]
    alarms = (
        Alarm.objects.filter(cleared__isnull=True)
        .values("subject")
        .annotate(cases=Count("id"), since=Min("first"))
    )
    ((transfers,),) = fetch("SELECT last_value FROM ledger_transfer_id_seq")
    return Snapshot(
        time=now,
        chain=chain,
        checkpoint=RootCommitment.objects.order_by("-eon_number")
        .values_list("eon_number", flat=True)
        .first(),
        alarms=tuple(
            Standing(row["subject"], row["cases"], row["since"]) for row in alarms.order_by("subject")
        ),
        beats=tuple(
            Beat(
                row.name,
                (now - row.ended).total_seconds(),
                row.runs,
                row.failures,
                row.seconds,
                row.slowest,
            )
            for row in Heartbeat.objects.all()
        ),
        queues=_queues(chain),
        oldest_event=0.0 if oldest is None else (now - oldest).total_seconds(),
        wallets={str(token): token.wallet_count for token in Token.objects.all()},
        transfers=transfers,
    )


def _queues(chain: ChainStatus | None) -> dict[str, int]:
    """What waits, by kind."""
    eon = 0 if chain is None else chain.eon
    states = EthereumTransaction.State
    waiting = dict(
        EthereumTransaction.objects.filter(state__in=[states.QUEUED, states.SENT])
        .values_list("state")
        .annotate(count=Count("id"))
    )
    ((unmatched, resting),) = fetch(
        "SELECT count(*) FILTER (WHERE arrival IS NULL), count(*) FILTER (WHERE arrival IS NOT NULL)"
        " FROM ledger_transfer WHERE eon_number = %s AND swap AND NOT processed AND appended AND NOT cancelled",
        [eon],
    )
    return {
        "events": Outbox.objects.count(),
        "transactions_queued": waiting.get(states.QUEUED, 0),
        "transactions_sent": waiting.get(states.SENT, 0),
        "challenges_open": Challenge.objects.filter(rebuted=False, eon_number__gte=eon - 1).count(),
        "orders_unmatched": unmatched,
        "orders_resting": resting,
        "notices_unsent": Notice.objects.filter(sent__isnull=True).count(),
    } | _broker()


def _broker() -> dict[str, int]:
    """Tasks that wait in each queue of a Redis broker; nothing while it is away, or of another broker."""
    if not settings.CELERY_BROKER_URL.startswith(("redis://", "rediss://")):
        return {}
    import redis

    schedule: dict[str, dict[str, Any]] = settings.CELERY_BEAT_SCHEDULE
    queues = sorted({str(entry["options"]["queue"]) for entry in schedule.values()})
    try:
        with redis.Redis.from_url(
            settings.CELERY_BROKER_URL, socket_timeout=BROKER_SECONDS, socket_connect_timeout=BROKER_SECONDS
        ) as broker:
            pipe = broker.pipeline(transaction=False)
            for queue in queues:
                pipe.llen(queue)
            return {
                f"tasks_{queue}": int(length) for queue, length in zip(queues, pipe.execute(), strict=True)
            }
    except redis.RedisError:
        return {}


# ---- for people -------------------------------------------------------------------------------------------------


def state_of(chain: ChainStatus | None) -> str:
    """One word for whether the hub accepts what is new."""
    if chain is None:
        return "starting"
    words = {
        ErrorCode.CHAIN_HALTED: "halted",
        ErrorCode.CHAIN_FORKED: "forked",
        ErrorCode.CHAIN_BEHIND: "behind",
        ErrorCode.HUB_MAINTENANCE: "maintenance",
    }
    reason = stopped(chain)
    return "running" if reason is None else words[reason]


def document() -> dict[str, Any]:
    """The body of /status/. Raises django.db.Error."""
    now = snapshot()
    chain = now.chain
    state = state_of(chain)
    return {
        "server": settings.SERVER_NAME,
        "time": int(now.time.timestamp()),
        "state": state,
        "halted": chain is not None and chain.halted,
        "forked": chain is not None and chain.forked,
        "behind": state == "behind",
        "maintenance": chain is not None and chain.maintenance,
        "eon": None if chain is None else chain.eon,
        "checkpoint": now.checkpoint,
        "blocks": None
        if chain is None
        else {
            "head": chain.head_block,
            "confirmed": chain.confirmed_block,
            "node": chain.node_block,
            "behind": chain.blocks_behind,
            "eon_first": chain.first_block_of(chain.eon),
            "eon_length": chain.blocks_per_eon,
            "newest_seen_seconds_ago": _rounded((now.time - chain.progressed).total_seconds()),
        },
        "alarms": [
            {
                "subject": alarm.subject,
                "severity": kind_of(alarm.subject).severity.value,
                "meaning": kind_of(alarm.subject).sentence,
                "cases": alarm.cases,
                "since": int(alarm.since.timestamp()),
                "runbook": runbook(alarm.subject),
            }
            for alarm in now.alarms
        ],
        "heartbeats": {beat.name: _rounded(beat.age) for beat in now.beats},
        "queues": {**now.queues, "oldest_event_seconds": _rounded(now.oldest_event)},
    }


def _rounded(seconds: float) -> float:
    return round(max(seconds, 0.0), 1)


# ---- for Prometheus ---------------------------------------------------------------------------------------------

Values = Sequence[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric: its values by labels."""

    name: str
    help: str
    values: Values
    labels: tuple[str, ...] = ()


def figures() -> list[Figure]:
    """The hub's metrics. Without PostgreSQL there is one alone, which says so."""
    try:
        now = snapshot()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("no figures without the database: %s", str(error).strip())
        return [Figure("hub_database_up", "Whether PostgreSQL answers.", [((), 0)])]
    return [
        Figure("hub_database_up", "Whether PostgreSQL answers.", [((), 1)]),
        *_chain_figures(now),
        *_work_figures(now),
    ]


def _chain_figures(now: Snapshot) -> list[Figure]:
    chain = now.chain
    if chain is None:
        return []
    return [
        Figure("hub_eon", "The latest eon.", [((), chain.eon)]),
        Figure("hub_checkpoint_eon", "The newest eon with a checkpoint.", [((), now.checkpoint or 0)]),
        Figure(
            "hub_block",
            "The newest block seen (head), applied (confirmed), and of the node (node).",
            [
                (("head",), chain.head_block),
                (("confirmed",), chain.confirmed_block),
                (("node",), chain.node_block or 0),
            ],
            ("which",),
        ),
        Figure(
            "hub_block_age_seconds",
            "Time since a new block was seen.",
            [((), (now.time - chain.progressed).total_seconds())],
        ),
        Figure("hub_accepting", "Whether the hub accepts what is new.", [((), stopped(chain) is None)]),
        Figure("hub_halted", "Whether the contract refuses to go on.", [((), chain.halted)]),
        Figure("hub_forked", "Whether the chain forked below applied blocks.", [((), chain.forked)]),
    ]


def _work_figures(now: Snapshot) -> list[Figure]:
    standing = {severity.value: 0 for severity in Severity}
    for alarm in now.alarms:
        standing[kind_of(alarm.subject).severity.value] += alarm.cases
    beats = now.beats
    return [
        Figure(
            "hub_alarms",
            "Alarms that stand, by severity.",
            [((name,), count) for name, count in standing.items()],
            ("severity",),
        ),
        Figure(
            "hub_alarm",
            "Cases of each alarm that stands.",
            [((alarm.subject, kind_of(alarm.subject).severity.value), alarm.cases) for alarm in now.alarms],
            ("subject", "severity"),
        ),
        Figure(
            "hub_heartbeat_age_seconds",
            "Time since a run of the periodic task ended, on any host.",
            [((beat.name,), beat.age) for beat in beats],
            ("beat",),
        ),
        Figure(
            "hub_heartbeat_runs_total",
            "Runs of the periodic task.",
            [((beat.name,), beat.runs) for beat in beats],
            ("beat",),
        ),
        Figure(
            "hub_heartbeat_failures_total",
            "Parts of the periodic task that went wrong.",
            [((beat.name,), beat.failures) for beat in beats],
            ("beat",),
        ),
        Figure(
            "hub_heartbeat_seconds_total",
            "Time that the runs took.",
            [((beat.name,), beat.seconds) for beat in beats],
            ("beat",),
        ),
        Figure(
            "hub_heartbeat_slowest_seconds",
            "The longest run.",
            [((beat.name,), beat.slowest) for beat in beats],
            ("beat",),
        ),
        Figure(
            "hub_queue_size",
            "What waits, by kind.",
            [((name,), size) for name, size in now.queues.items()],
            ("queue",),
        ),
        Figure(
            "hub_oldest_event_seconds",
            "Age of the oldest event nobody was told of.",
            [((), now.oldest_event)],
        ),
        Figure(
            "hub_wallets",
            "Wallets admitted.",
            [((name,), count) for name, count in now.wallets.items()],
            ("token",),
        ),
        Figure(
            "hub_transfers_total",
            "Rows of transfers and orders that were given a number.",
            [((), now.transfers)],
        ),
    ]
