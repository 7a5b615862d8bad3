"""Whether this process and what it needs are well, for supervisors and load balancers."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from ledger.sql import fetch
from ledger.store import HubNotReadyError, chain_status, stopped
from operator_api.error_codes import ErrorCode

REDIS_SECONDS = 2.0

_migrated = False

PROBLEMS = (DatabaseError, InterfaceError)


def problems() -> dict[str, str]:
    """What is not well, in words, by what it is; nothing while the hub serves everything."""
    found = {"database": _database(), "redis": _redis()}
    if not found["database"]:
        found["migrations"] = _migrations()
        found["chain"] = "" if found["migrations"] else _chain()
    return {name: text for name, text in found.items() if text}


def _database() -> str:
    try:
        fetch("SELECT 1")
    except PROBLEMS:
        return "PostgreSQL does not answer"
    return ""


def _migrations() -> str:
    """Asked until they are applied: nobody takes them back under a running process."""
    global _migrated  # noqa: PLW0603
    if _migrated:
        return ""
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connection)
        waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except PROBLEMS:
        return "PostgreSQL does not answer"
    _migrated = not waiting
    return f"{waiting} migrations are not applied" if waiting else ""


def _redis() -> str:
    import redis

    limits: dict[str, Any] = {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS}
    try:
        with redis.Redis.from_url(settings.REDIS_URL, **limits) as client:
            client.ping()
    except redis.RedisError:
        return "Redis does not answer"
    return ""


def _chain() -> str:
    try:
        status = chain_status()
    except HubNotReadyError:
        return "the chain has not been read yet"
    except PROBLEMS:
        return "PostgreSQL does not answer"
    reason = stopped(status)
    # Maintenance refuses writes, and says so: proofs and streams are there for who is sent here.
    return "" if reason in {None, ErrorCode.HUB_MAINTENANCE} else reason.value


def forget() -> None:
    """Ask for migrations again, for tests."""
    global _migrated  # noqa: PLW0603
    _migrated = False
