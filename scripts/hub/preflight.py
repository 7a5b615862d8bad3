"""`python -m scripts.hub.preflight [--live]`: what is wrong with this process's environment, as JSON.

Run by `./run.sh prod` in a process of its own, so that settings are read once by whoever uses them. With `--live`
the servers that the environment names are asked, too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

OLDEST_POSTGRESQL = 15
CONNECT_SECONDS = 10


def problems_of_settings() -> tuple[list[str], list[str]]:
    """Sentences about the settings and the operator's key, and the names that the settings read."""
    import django
    from django.core.exceptions import ImproperlyConfigured

    from operator_api.environment import EnvironmentProblems

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "operator_api.settings")
    try:
        from operator_api import settings

        django.setup()
    except EnvironmentProblems as error:
        return error.problems, error.names
    except ImproperlyConfigured as error:
        return [str(error)], []
    names = sorted(settings.environment.variables)
    try:
        from operator_api.keys import operator_key

        operator_key()
    except ImproperlyConfigured as error:
        return [str(error)], names
    return [], names


def problems_of_servers() -> Iterator[str]:
    """Sentences about PostgreSQL, Redis, the broker and the nodes that do not answer or are not the right ones."""
    for name, check in {
        "DATABASE_URL": _database,
        "REDIS_URL": _redis,
        "CELERY_BROKER_URL": _broker,
        "HUB_ETHEREUM_NODE_URL": _nodes,
    }.items():
        try:
            for problem in check():
                yield f"{name}: {problem}"
        except Exception as error:  # whatever a driver makes of a server that is none
            yield f"{name}: {type(error).__name__}: {' '.join(str(error).split())}"


def _database() -> Iterator[str]:
    import psycopg2

    try:
        connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=CONNECT_SECONDS)
    except psycopg2.Error as error:
        yield " ".join(str(error).split())
        return
    with suppress(psycopg2.Error):
        if connection.server_version < OLDEST_POSTGRESQL * 10_000:
            yield f"PostgreSQL {OLDEST_POSTGRESQL} or later is needed"
        connection.close()


def _redis() -> Iterator[str]:
    from scripts.hub import redis

    if problem := redis.problem(os.environ["REDIS_URL"]):
        yield problem


def _broker() -> Iterator[str]:
    from django.conf import settings

    if settings.CELERY_BROKER_URL.startswith(settings.REDIS_URL):
        return  # asked already
    from kombu import Connection

    with Connection(settings.CELERY_BROKER_URL, connect_timeout=CONNECT_SECONDS) as connection:
        try:
            connection.connect()
        except connection.recoverable_connection_errors as error:
            yield f"does not answer: {' '.join(str(error).split())}"


def _nodes() -> Iterator[str]:
    from django.conf import settings

    from nocust.addresses import to_checksum
    from scripts.hub.errors import HubError
    from scripts.hub.wire import FAILURES, rpc

    contract = to_checksum(settings.HUB_LQD_CONTRACT_ADDRESS)
    for url in settings.HUB_ETHEREUM_NODE_URL.split(","):
        host = urlsplit(url.strip()).hostname
        try:
            chain = int(rpc(url.strip(), "eth_chainId"), 16)
            if settings.HUB_ETHEREUM_CHAIN_ID not in {0, chain}:
                yield f"{host} is on chain {chain}, HUB_ETHEREUM_CHAIN_ID says {settings.HUB_ETHEREUM_CHAIN_ID}"
            elif len(rpc(url.strip(), "eth_getCode", contract, "latest")) <= len("0x"):
                yield f"{host} has no contract at {contract} (HUB_LQD_CONTRACT_ADDRESS) on chain {chain}"
        except (*FAILURES, HubError) as error:
            yield f"{host} does not answer: {error}"


def main() -> None:
    problems, names = problems_of_settings()
    if not problems and "--live" in sys.argv[1:]:
        problems = list(problems_of_servers())
    print(json.dumps({"problems": problems, "names": names}))


if __name__ == "__main__":
    main()
