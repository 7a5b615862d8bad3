"""All settings of the hub: those that are read from the environment, and those of `settings_fixed.py`. Units are in
the names or beside the value."""

from __future__ import annotations

import os
from tempfile import gettempdir
from typing import cast
from urllib.parse import urlsplit

from nocust.addresses import parse_address
from nocust.signatures import private_key_address
from nocust.swaps import MAX_ORDER_EONS
from operator_api.environment import (
    Environment,
    database_from_url,
    hexadecimal,
    node_urls,
    path_of_words,
    redis_server,
    url_of,
)
from operator_api.settings_fixed import *  # noqa: F403  (Django looks for all settings here)

environment = Environment()

# ---------------------------------------------------------------------------------------------------------------
# Mode. Development has defaults for everything; production has none for secrets and addresses.
PRODUCTION = environment.boolean("RUNNING_IN_PRODUCTION", False)
DEVELOPMENT_OPERATOR = "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1"
DEVELOPMENT_KEY = "0x4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d"
DEVELOPMENT_CONTRACT = "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7"
DEVELOPMENT_TOKEN = "0xe982E462b094850F12AF94d21D470e21bE9D0E9C"  # noqa: S105  (an address, not a secret)

REQUIRED_IN_PRODUCTION = {
    "SECRET_KEY": "Django signs sessions with it",
    "DATABASE_URL": "the ledger lives there",
    "REDIS_URL": "broker, cache and channel layer",
    "HUB_OWNER_ACCOUNT_ADDRESS": "the operator's address",
    "HUB_LQD_CONTRACT_ADDRESS": "the contract that holds the deposits",
    "HUB_ETHEREUM_NODE_URL": "the node that the chain is read from",
    "SLA_TOKEN_ADDRESS": "the token that service level agreements are paid in",
    "ALLOWED_HOSTS": "the names the hub answers to",
    "SERVER_NAME": "what this hub is called in alarms and logs",
}
if PRODUCTION:
    for name, reason in REQUIRED_IN_PRODUCTION.items():
        environment.require(name, reason)


def _secret_key(text: str) -> str:
    if PRODUCTION and (len(text) < 32 or len(set(text)) < 8):
        raise ValueError("is too easy to guess: take 50 random characters")
    return text


SECRET_KEY = environment.read(
    "SECRET_KEY", "" if PRODUCTION else "development-only", _secret_key, kind="secret"
)
ALLOWED_HOSTS = environment.items("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]", "testserver"])
if PRODUCTION and "*" in ALLOWED_HOSTS:
    environment.problems.append("ALLOWED_HOSTS: * answers to every name: list the names of this hub")
SERVER_NAME = environment.text("SERVER_NAME", "development")

# ---------------------------------------------------------------------------------------------------------------
# Pages of other hosts, and HTTPS
CORS_ALLOWED_ORIGINS = environment.items(
    "CORS_ORIGIN_WHITELIST", ["http://localhost:3000", "http://localhost:4200"]
)
CORS_ALLOW_ALL_ORIGINS = environment.boolean("CORS_ORIGIN_ALLOW_ALL", False)
SECURE_HSTS_SECONDS = environment.integer("HUB_HSTS_SECONDS", 0)  # 0: what speaks HTTPS in front says it

# ---------------------------------------------------------------------------------------------------------------
# The admin (admin_site.py). Its cookies go to its own path alone, and in production over HTTPS alone.
# Without a path there is none.
HUB_ADMIN_PATH = environment.read("HUB_ADMIN_PATH", "" if PRODUCTION else "admin", path_of_words)
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"/{HUB_ADMIN_PATH}/"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION

# ---------------------------------------------------------------------------------------------------------------
# Limits (limits.py): requests a second for each client and server process; 0: none. Development's are out of reach,
# because there a load generator is one client.
_generous = 300 if PRODUCTION else 10_000
HUB_LIMIT_WRITES = environment.integer("HUB_LIMIT_WRITES", _generous)  # of an IP address
HUB_LIMIT_READS = environment.integer("HUB_LIMIT_READS", _generous)  # expensive ones, of an IP address
# Accepted writes of an Ethereum address.
HUB_LIMIT_ADDRESS = environment.integer("HUB_LIMIT_ADDRESS", _generous)
# What these rates allow in so many seconds may come at once.
HUB_LIMIT_BURST_SECONDS = environment.integer("HUB_LIMIT_BURST_SECONDS", 10, minimum=1)
# Addresses and networks whose X-Forwarded-For is believed.
HUB_TRUSTED_PROXIES = environment.items("HUB_TRUSTED_PROXIES", ["127.0.0.1", "::1"])

# ---------------------------------------------------------------------------------------------------------------
# PostgreSQL. Time-outs keep a stuck session from stopping the hub.
DEVELOPMENT_DATABASE = "postgresql://hub@127.0.0.1:15432/hub"
_database = environment.read(
    "DATABASE_URL",
    database_from_url(DEVELOPMENT_DATABASE),
    database_from_url,
    kind="URL",
    shown=DEVELOPMENT_DATABASE,
)
DATABASES = {
    "default": {
        **_database,
        # A request runs in one of a fixed set of threads (asgi.py), each of which keeps its connection.
        "CONN_MAX_AGE": environment.integer("DATABASE_CONNECTION_MAX_AGE", 600),  # seconds
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **cast(dict[str, str], _database["OPTIONS"]),
            "connect_timeout": 10,  # seconds
            "options": "-c statement_timeout=60000 -c lock_timeout=15000"
            " -c idle_in_transaction_session_timeout=60000",  # milliseconds
        },
    }
}
# History is read from a replica that follows by streaming, if there is one (ledger/replica.py).
_no_replica: dict[str, object] = {}
_replica = environment.read("HUB_REPLICA_DATABASE_URL", _no_replica, database_from_url, kind="URL", shown="")
# Nothing is read from a replica that is further behind: clients ask for an eon's states soon after its end.
HUB_REPLICA_LAG_SECONDS = environment.integer("HUB_REPLICA_LAG_SECONDS", 30, minimum=1)
if _replica:
    DATABASES["replica"] = {
        **DATABASES["default"],
        **_replica,
        "OPTIONS": {
            **cast(dict[str, str], _replica["OPTIONS"]),
            "connect_timeout": 2,  # seconds, in which a request waits for it
            "options": "-c statement_timeout=20000 -c default_transaction_read_only=on",  # milliseconds
        },
        "TEST": {"MIRROR": "default"},
    }
    DATABASE_ROUTERS = ["ledger.replica.Router"]
HTTP_THREADS = environment.integer("HUB_HTTP_THREADS", 32, minimum=1)

# ---------------------------------------------------------------------------------------------------------------
# Redis: broker, cache and channel layer. It may be flushed at any time.
REDIS_URL = environment.read("REDIS_URL", "redis://127.0.0.1:16379", redis_server, kind="URL")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": f"{REDIS_URL}/3"}}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [f"{REDIS_URL}/2"]},
    }
}

# ---------------------------------------------------------------------------------------------------------------
# Celery
_over_tls = "?ssl_cert_reqs=required" if REDIS_URL.startswith("rediss:") else ""
CELERY_BROKER_URL = environment.read(
    "CELERY_BROKER_URL",
    f"{REDIS_URL}/1{_over_tls}",
    url_of("redis", "rediss", "amqp", "amqps"),
    kind="URL",
    shown="REDIS_URL/1",
)
# RabbitMQ knows none of them: it gives a task to another worker when the first one's connection ends.
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {"visibility_timeout": 3600, "socket_keepalive": True} if CELERY_BROKER_URL.startswith("redis") else {}
)
CELERY_BEAT_SCHEDULE_FILENAME = environment.text(
    "HUB_BEAT_SCHEDULE_FILE",
    "/tmp/nocust-hub-beat",  # noqa: S108
    kind="file",
)

# ---------------------------------------------------------------------------------------------------------------
# The chain
# One or several nodes, the preferred one first (contractor/nodes.py).
HUB_ETHEREUM_NODE_URL = environment.read(
    "HUB_ETHEREUM_NODE_URL", "http://127.0.0.1:8545", node_urls, kind="URLs"
)
# A node takes at most this long for a whole answer; the largest requests are 2,000 blocks of logs.
HUB_NODE_TIMEOUT_SECONDS = environment.integer("HUB_NODE_TIMEOUT_SECONDS", 15, minimum=1)
# Of several nodes, one that is more blocks behind the highest is passed over. Nodes of one chain see a new block
# seconds apart, which is a block or two.
HUB_NODE_LAG_BLOCKS = environment.integer("HUB_NODE_LAG_BLOCKS", 5, minimum=1)
# A node that failed is left alone for so long, so that its time-outs do not slow the hub down.
HUB_NODE_RETRY_SECONDS = environment.integer("HUB_NODE_RETRY_SECONDS", 30, minimum=1)
# New transfers, registrations and delegated withdrawals are refused while the hub has read so many blocks fewer
# than its node has, or has seen no new block for so long (0: for ever). Ordinary lag is a block or two.
HUB_CHAIN_BEHIND_BLOCKS = environment.integer("HUB_CHAIN_BEHIND_BLOCKS", 20, minimum=1)
HUB_CHAIN_STALL_SECONDS = environment.integer("HUB_CHAIN_STALL_SECONDS", 300)
HUB_ETHEREUM_NETWORK_IS_POA = environment.boolean("HUB_ETHEREUM_NETWORK_IS_POA", False)
HUB_ETHEREUM_CHAIN_ID = environment.integer("HUB_ETHEREUM_CHAIN_ID", 0 if PRODUCTION else 1337)  # 0: any
HUB_LQD_CONTRACT_CONFIRMATIONS = environment.integer("HUB_LQD_CONTRACT_CONFIRMATIONS", 3)  # blocks
# Blocks before its deadline from which an unanswered challenge raises an alarm; 0: a third of the time to answer.
HUB_CHALLENGE_RISK_BLOCKS = environment.integer("HUB_CHALLENGE_RISK_BLOCKS", 0)
HUB_LQD_CONTRACT_ADDRESS = environment.read(
    "HUB_LQD_CONTRACT_ADDRESS", parse_address(DEVELOPMENT_CONTRACT), parse_address
)
HUB_OWNER_ACCOUNT_ADDRESS = environment.read(
    "HUB_OWNER_ACCOUNT_ADDRESS", parse_address(DEVELOPMENT_OPERATOR), parse_address
)


def _private_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
        private_key_address(key)
    except ValueError:
        raise ValueError("must be the 64 hexadecimal digits of a private key") from None
    if PRODUCTION and key.hex() == DEVELOPMENT_KEY.removeprefix("0x"):
        raise ValueError("is the development key, which everybody knows")
    return key


# Where the operator's key is: one of a function that returns it, an encrypted file, or the key itself
# (operator_api/keys.py). Development has a key that everybody knows.
HUB_OWNER_ACCOUNT_SIGNER = environment.text("HUB_OWNER_ACCOUNT_SIGNER")
HUB_OWNER_ACCOUNT_KEYSTORE = environment.text("HUB_OWNER_ACCOUNT_KEYSTORE", kind="file")
HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE = environment.text(
    "HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE", kind="file"
)
_elsewhere = bool(HUB_OWNER_ACCOUNT_SIGNER or HUB_OWNER_ACCOUNT_KEYSTORE)
HUB_OWNER_ACCOUNT_KEY = environment.read(
    "HUB_OWNER_ACCOUNT_KEY",
    b"" if PRODUCTION or _elsewhere else _private_key(DEVELOPMENT_KEY),
    _private_key,
    kind="secret",
    shown="",
)
_keys = [
    name
    for name, value in {
        "HUB_OWNER_ACCOUNT_SIGNER": HUB_OWNER_ACCOUNT_SIGNER,
        "HUB_OWNER_ACCOUNT_KEYSTORE": HUB_OWNER_ACCOUNT_KEYSTORE,
        "HUB_OWNER_ACCOUNT_KEY": HUB_OWNER_ACCOUNT_KEY,
    }.items()
    if value
]
if not _keys:
    environment.problems.append(
        "HUB_OWNER_ACCOUNT_KEYSTORE: not set; the operator countersigns every state (HUB_OWNER_ACCOUNT_SIGNER and"
        " HUB_OWNER_ACCOUNT_KEY are other ways)"
    )
if len(_keys) > 1:
    environment.problems.append(f"{' and '.join(_keys)}: set one of them, the operator has one key")
if bool(HUB_OWNER_ACCOUNT_KEYSTORE) != bool(HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE):
    environment.problems.append(
        "HUB_OWNER_ACCOUNT_KEYSTORE and HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE: set both or neither"
    )
for _name, _file in {
    "HUB_OWNER_ACCOUNT_KEYSTORE": HUB_OWNER_ACCOUNT_KEYSTORE,
    "HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE": HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE,
}.items():
    if _file and not os.access(_file, os.R_OK):
        environment.problems.append(f"{_name}: {_file} cannot be read by this user, or is not there")
if HUB_OWNER_ACCOUNT_KEY and private_key_address(HUB_OWNER_ACCOUNT_KEY) != HUB_OWNER_ACCOUNT_ADDRESS:
    environment.problems.append("HUB_OWNER_ACCOUNT_KEY: is not the key of HUB_OWNER_ACCOUNT_ADDRESS")

# ---------------------------------------------------------------------------------------------------------------
# The operator's transactions. Fees are wei a unit of gas.
HUB_FEE_FLOOR = environment.integer(
    "HUB_FEE_FLOOR", 10**8
)  # 0.1 gwei: cheaper ones wait for ever on most chains
# Nothing is ever offered beyond the cap. 500 gwei is several times what mainnet asks on its busiest days: a
# checkpoint that is late halts the hub, which costs more.
HUB_FEE_CAP = environment.integer("HUB_FEE_CAP", 500 * 10**9, minimum=1)
# 0.1 gwei: miners leave out what pays them less.
HUB_PRIORITY_FEE_FLOOR = environment.integer("HUB_PRIORITY_FEE_FLOOR", 10**8)
if max(HUB_FEE_FLOOR, HUB_PRIORITY_FEE_FLOOR) > HUB_FEE_CAP:
    environment.problems.append("HUB_FEE_CAP: is below HUB_FEE_FLOOR or HUB_PRIORITY_FEE_FLOOR")
# A transaction that is not mined after so many blocks is offered again for so much more. Nodes take no replacement
# that offers less than 10 % more; 25 % reaches ten times the price after ten tries.
HUB_BUMP_BLOCKS = environment.integer("HUB_BUMP_BLOCKS", 10, minimum=1)
HUB_BUMP_PERCENT = environment.integer("HUB_BUMP_PERCENT", 125, minimum=110)
# Gas allowed beyond the estimate, since the contract's state may change until it is mined; and the most a
# transaction may need, which is a fraction of any block.
HUB_GAS_MARGIN_PERCENT = environment.integer("HUB_GAS_MARGIN_PERCENT", 130, minimum=100)
HUB_GAS_CAP = environment.integer("HUB_GAS_CAP", 5_000_000, minimum=100_000)
# Fees that the contract keeps for the operator are claimed, at most once an eon, when more wei than this have
# gathered; 0: never. A claim takes some 40,000 gas, a small part of 0.1 ether on the busiest days.
HUB_CLAIM_FEES_ABOVE = environment.integer("HUB_CLAIM_FEES_ABOVE", 10**17)
# An alarm is raised while the operator's account holds less wei: 1 ether pays for hundreds of checkpoints.
OWNER_BALANCE_THRESHOLD = environment.integer("OWNER_BALANCE_THRESHOLD", 10**18)

# ---------------------------------------------------------------------------------------------------------------
# Service
BULK_ADMISSION_LIMIT = environment.integer("BULK_ADMISSION_LIMIT", 20, minimum=1)  # wallets
SLA_TOKEN_ADDRESS = environment.read("SLA_TOKEN_ADDRESS", parse_address(DEVELOPMENT_TOKEN), parse_address)
SLA_TOKEN_NAME = environment.text("SLA_TOKEN_NAME", "LQD")
SLA_RECIPIENT_ADDRESS = environment.read(
    "SLA_RECIPIENT_ADDRESS", HUB_OWNER_ACCOUNT_ADDRESS, parse_address, shown="HUB_OWNER_ACCOUNT_ADDRESS"
)
SLA_THRESHOLD = environment.integer("SLA_THRESHOLD", 100)  # entries of a wallet's transaction set an eon
SLA_PRICE = environment.integer("SLA_PRICE", 10**18)  # smallest unit of the token
SLA_DURATION_DAYS = environment.integer("SLA_DURATION_DAYS", 30, minimum=1)
SWAPS_ENABLED = environment.boolean("SWAPS_ENABLED", True)
SWAPS_PERSISTENCE_LIMIT = environment.integer("SWAPS_PERSISTENCE_LIMIT", 20, minimum=1)  # eons of an order
if SWAPS_PERSISTENCE_LIMIT > MAX_ORDER_EONS:
    environment.problems.append(f"SWAPS_PERSISTENCE_LIMIT: must be at most {MAX_ORDER_EONS}")
TOS_PRIVACY_POLICY_DIGEST = environment.read(
    "TOS_PRIVACY_POLICY_DIGEST",
    "33F8560BDE33D87B0DB60633AF2E0481CE0B7952080673F331FA58D7D1C99A9D",
    hexadecimal(64),
)
TOS_TERMS_OF_SERVICE_DIGEST = environment.read(
    "TOS_TERMS_OF_SERVICE_DIGEST",
    "4625EFBA932B871BB5BAB4B0000156A995B6164EC133B900A4DEC0DB0E1242C9",
    hexadecimal(64),
)
TOS_UPDATE_WINDOW_DAYS = environment.integer("TOS_UPDATE_WINDOW_DAYS", 7)
TOS_URL = environment.read("TOS_URL", "", url_of("https"), kind="URL")

# Figures of the analytics endpoints may be so old: they count over everything there is.
HUB_ANALYTICS_SECONDS = environment.integer("HUB_ANALYTICS_SECONDS", 60)
# Events are kept so long for websocket clients that missed them; later they have to take a snapshot.
HUB_STREAM_RETENTION_HOURS = environment.integer("HUB_STREAM_RETENTION_HOURS", 24, minimum=1)
# Websocket connections that an address may have with one server process; 0: any number.
HUB_STREAM_CONNECTIONS_PER_ADDRESS = environment.integer("HUB_STREAM_CONNECTIONS_PER_ADDRESS", 1000)

# ---------------------------------------------------------------------------------------------------------------
# Alarms (heartbeat/watch.py, heartbeat/delivery.py). They go to a web hook that takes Slack's messages, to e-mail
# addresses, to both, or to the log and /status/ alone.
NOTIFICATION_HOOK_URL = environment.read("NOTIFICATION_HOOK_URL", "", url_of("http", "https"), kind="URL")
NOTIFICATION_EMAIL = environment.items("NOTIFICATION_EMAIL", [])
EMAIL_HOST = environment.text("EMAIL_HOST", "localhost")
EMAIL_PORT = environment.integer("EMAIL_PORT", 25, minimum=1)
EMAIL_HOST_USER = environment.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = environment.text("EMAIL_HOST_PASSWORD", kind="secret")
EMAIL_USE_TLS = environment.boolean("EMAIL_USE_TLS", False)
DEFAULT_FROM_EMAIL = environment.text("EMAIL_FROM", "nocust-hub@localhost")
# Where the runbook's pages of alarms are published; empty: messages name their files in the source.
HUB_RUNBOOK_URL = environment.read("HUB_RUNBOOK_URL", "", url_of("http", "https"), kind="URL")
HUB_ALARM_TIMEOUT_SECONDS = environment.integer("HUB_ALARM_TIMEOUT_SECONDS", 5, minimum=1)
# An alarm that a check raised is over when it has not been found again for so long: it must not flicker.
HUB_ALARM_CALM_SECONDS = environment.integer("HUB_ALARM_CALM_SECONDS", 30)
# An alarm is raised when no block is applied (0: never) and when a periodic task or an event is late for so long.
HUB_NO_BLOCK_SECONDS = environment.integer("HUB_NO_BLOCK_SECONDS", 60)
HUB_QUEUE_LAG_SECONDS = environment.integer("HUB_QUEUE_LAG_SECONDS", 60, minimum=10)

# ---------------------------------------------------------------------------------------------------------------
# Metrics at /metrics: for everybody (on), for those who ask from this host and through no proxy (local), or none.
# The processes of a host share the counts in a folder (metrics.py).
HUB_METRICS = environment.choice("HUB_METRICS", "local", ["on", "local", "off"])
HUB_METRICS_DIR = (
    environment.text("HUB_METRICS_DIR")
    or f"{gettempdir()}/nocust-hub-metrics-{os.getuid()}-{os.environ.get('HUB_PORT') or 8123}"
)
# Traces and errors, for those who collect them (tracing.py).
SENTRY_DSN = environment.text("SENTRY_DSN", kind="secret")
OTEL_EXPORTER_OTLP_ENDPOINT = environment.read(
    "OTEL_EXPORTER_OTLP_ENDPOINT", "", url_of("http", "https"), kind="URL"
)
TRACES_SHARE = environment.integer("HUB_TRACES_PERCENT", 10) / 100  # of requests and tasks

# ---------------------------------------------------------------------------------------------------------------
# Logging: one line an event on standard error; the process's start script decides where it goes (logs.py).
LOG_FORMAT = environment.choice("LOG_FORMAT", "json" if PRODUCTION else "line", ["json", "line"])
LOG_REQUESTS = environment.boolean("LOG_REQUESTS", False)
_secrets = [SECRET_KEY, HUB_OWNER_ACCOUNT_KEY.hex(), str(_database.get("PASSWORD", "")), EMAIL_HOST_PASSWORD]
_secrets += [str(_replica.get("PASSWORD", ""))]
_secrets += [urlsplit(NOTIFICATION_HOOK_URL).path, SENTRY_DSN]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "operator_api.logs.LineFormatter", "secrets": _secrets},
        "json": {"()": "operator_api.logs.JSONFormatter", "secrets": _secrets, "server": SERVER_NAME},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {
        "handlers": ["stderr"],
        "level": environment.choice("LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR"]),
    },
    "loggers": {
        name: {"level": "WARNING"}
        for name in ("celery.app.trace", "celery.beat", "celery.worker.strategy", "celery.worker.request")
    }
    | {"django.request": {"level": "ERROR"}}  # a client's mistakes are no news; LOG_REQUESTS shows them
    | {"channels_redis.pubsub": {"level": "CRITICAL"}}  # it prints a traceback a second while Redis is down
    | {"uvicorn": {"handlers": [], "propagate": True}},  # it has a handler of its own until then
}

environment.check()
