"""Settings come from the environment, and wrong ones are named."""

from __future__ import annotations

import pytest

from scripts.hub.config import (
    OPERATOR_KEY,
    OWN_VARIABLES,
    base_environment,
    children_environment,
    from_environment,
)
from scripts.hub.errors import HubError


def test_the_development_hub_is_where_existing_tooling_expects_it() -> None:
    config = from_environment({})
    assert config.hub_url == "http://localhost:8123/"
    assert config.ports["node"] == 8545
    assert (config.chain_id, config.block_time, config.blocks_per_eon, config.confirmations) == (
        1337,
        2,
        60,
        3,
    )
    assert config.operator == "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1"
    assert config.contract == "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7"
    assert config.token == "0xe982E462b094850F12AF94d21D470e21bE9D0E9C"
    assert set(config.embedded) == {"hub", "node", "database", "redis"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HUB_PORT", "eighty"),
        ("HUB_PORT", "0"),
        ("HUB_NODE_PORT", "65536"),
        ("HUB_BLOCK_TIME", "0"),
        ("HUB_BLOCK_TIME", "nan"),
        ("HUB_BLOCKS_PER_EON", "-5"),
        ("HUB_LQD_CONTRACT_CONFIRMATIONS", "2.5"),
    ],
)
def test_a_wrong_setting_is_named(name: str, text: str) -> None:
    with pytest.raises(HubError, match=f"{name} must be .* is '{text}'"):
        from_environment({name: text})


def test_development_is_refused_in_production() -> None:
    with pytest.raises(HubError, match="RUNNING_IN_PRODUCTION"):
        from_environment({"RUNNING_IN_PRODUCTION": "true"})


def test_servers_of_ones_own_are_not_embedded() -> None:
    config = from_environment({"DATABASE_URL": "postgresql://db/hub", "REDIS_URL": "redis://cache:6379/"})
    assert set(config.embedded) == {"hub", "node"}
    assert config.redis_url == "redis://cache:6379"


def test_the_development_key_is_known_as_such() -> None:
    assert not from_environment({}).own_key
    assert not from_environment({"HUB_OWNER_ACCOUNT_KEY": OPERATOR_KEY}).own_key
    assert from_environment({"HUB_OWNER_ACCOUNT_KEY": "0x" + "11" * 32}).own_key


def test_a_second_instance_inherits_nothing_of_the_first() -> None:
    first = children_environment(from_environment({}), "postgresql://a/b", "redis://c:1", "http://d:2")
    assert set(first) <= set(OWN_VARIABLES)
    kept = base_environment({**first, "PATH": "/usr/bin", "HUB_HTTP_THREADS": "8"})
    assert set(kept) == {"PATH", "HUB_HTTP_THREADS"}
    assert kept["PATH"].endswith("/.hub/venv/bin:/usr/bin")
