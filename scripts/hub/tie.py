"""The chain and the database belong together: what the ledger knows happened on that very chain.

The database carries the hash of the chain's first block in its comment. Wiping one of the two and keeping the other
would leave a hub that refers to deposits nobody made, so that is refused with a sentence.
"""

from __future__ import annotations

import time
from contextlib import suppress

import contracts
from scripts.hub.config import Config
from scripts.hub.errors import HubError
from scripts.hub.wire import rpc

MARK = "nocust hub on chain "
BLOCKS_PER_EON = "0xc3f3db97"
"""The beginning of the hash of `BLOCKS_PER_EON()`: what the contract is asked for with."""
OTHER_VERSION = (
    "If chain and database are of another version of the hub, or HUB_BLOCKS_PER_EON was another: './run.sh reset'"
    " begins a new chain and database."
)
REMEDY = "They belong together: './run.sh reset' wipes both and begins anew."


def first_block(node_url: str, seconds: float = 60.0) -> str:
    """The hash of the chain's block 1, mined now if there is none. Raises HubError.

    Not the genesis block: anvil makes a new one, with the time of day in it, each time it loads its chain.
    """
    deadline = time.monotonic() + seconds
    while (block := rpc(node_url, "eth_getBlockByNumber", "0x1", False)) is None:
        with suppress(HubError):  # a node that cannot mine on demand mines by itself
            rpc(node_url, "evm_mine")
        if time.monotonic() > deadline:
            raise HubError(f"The node at {node_url} mines no blocks.")
        time.sleep(0.1)
    return str(block["hash"])


def has_code(node_url: str, address: str) -> bool:
    """Whether a contract is at the address."""
    return len(rpc(node_url, "eth_getCode", address, "latest")) > len("0x")


def check_version(config: Config, node_url: str) -> None:
    """Compare the development contracts with those of this version and with the settings. Raises HubError.

    `contracts.deploy` does so, too, but takes a second to load what it deploys with.
    """
    for address, name in ((config.contract, "NOCUSTCommitChain"), (config.token, "TestToken")):
        code = rpc(node_url, "eth_getCode", address, "latest")
        if not contracts.load(name).matches(bytes.fromhex(code[2:])):
            raise HubError(f"The code at {address} is not the {name} of this version.\n{OTHER_VERSION}")
    eon = int(rpc(node_url, "eth_call", {"to": config.contract, "data": BLOCKS_PER_EON}, "latest"), 16)
    if eon != config.blocks_per_eon:
        raise HubError(
            f"The contract at {config.contract} has {eon} blocks an eon, not {config.blocks_per_eon}."
            f"\n{OTHER_VERSION}"
        )


def check(config: Config, database_url: str, node_url: str) -> None:
    """Compare the two, and mark a database that is still empty. Raises HubError if they do not belong together."""
    import psycopg2
    from psycopg2 import sql

    chain = first_block(node_url)
    connection = psycopg2.connect(database_url, connect_timeout=10)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_database(), shobj_description(oid, 'pg_database'),"
                " to_regclass('django_migrations') IS NULL FROM pg_database WHERE datname = current_database()"
            )
            name, comment, empty = cursor.fetchone() or ("", None, True)
            if (comment or "").startswith(MARK):
                if comment != MARK + chain:
                    raise HubError(
                        f"The database was filled from another chain than the node's. {_remedy(config)}"
                    )
                return
            if empty and not config.node_url and has_code(node_url, config.contract):
                raise HubError(
                    f"The chain has a hub's contract, but the database is empty. {_remedy(config)}"
                )
            if not comment:
                cursor.execute(
                    sql.SQL("COMMENT ON DATABASE {} IS {}").format(
                        sql.Identifier(name), sql.Literal(MARK + chain)
                    )
                )
    except psycopg2.errors.InsufficientPrivilege:
        return  # someone else's server: the hub's own check of the contract's parameters remains
    finally:
        connection.close()


def _remedy(config: Config) -> str:
    if config.database_url and config.node_url:
        return "Set DATABASE_URL to an empty database, or HUB_ETHEREUM_NODE_URL to that chain's node."
    if config.database_url:
        return f"{REMEDY} It cannot wipe the database that DATABASE_URL names: empty that one yourself."
    return REMEDY
