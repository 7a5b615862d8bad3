"""Node, contract, settings and database must belong together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from contractor import alarms, chain, follower
from contractor.errors import WrongChainError
from contractor.models import ContractParameters, EthereumTransaction
from contractor.tests.conftest import BLOCKS_PER_EON, DevelopmentNode, Hub
from contractor.tests.proxy import Proxy, forked
from ledger.models import Token, Wallet
from nocust.addresses import parse_address
from tos.models import TOSConfig

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_check_remembers_the_contract(node: DevelopmentNode, db: None) -> None:
    found = chain.check_chain()
    assert (found.chain_id, found.blocks_per_eon) == (1337, BLOCKS_PER_EON)
    assert chain.check_chain() == found
    assert ContractParameters.objects.count() == 1


def genesis_hash(node: DevelopmentNode) -> bytes:
    genesis = node.contract.functions.genesis().call()
    return bytes(node.web3.eth.get_block(genesis)["hash"])


def test_a_genesis_block_that_is_deep_is_remembered_at_once(node: DevelopmentNode, db: None) -> None:
    node.mine(3)
    assert chain.check_chain().genesis_hash == genesis_hash(node)


def test_a_genesis_block_may_be_replaced_until_it_is_deep(
    node: DevelopmentNode, db: None, settings: Any
) -> None:
    """The hub starts just after the contract was deployed, and again after a reorganisation."""
    genesis = node.contract.functions.genesis().call()
    with Proxy(node.url) as early:
        settings.HUB_ETHEREUM_NODE_URL = early.url
        chain.forget()
        early.fault = forked(genesis)
        follower.step()
        early.fault = None
        chain.forget()
        assert chain.check_chain().genesis_hash is None
        node.mine(3)
        follower.step()
        chain.forget()
        assert chain.check_chain().genesis_hash == genesis_hash(node)
        early.fault = forked(genesis)
        with pytest.raises(WrongChainError, match="genesis_hash"):
            chain.check_chain()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HUB_ETHEREUM_CHAIN_ID", 5, "the node is on chain 1337, HUB_ETHEREUM_CHAIN_ID says 5"),
        ("HUB_LQD_CONTRACT_ADDRESS", b"\1" * 20, "has no code on chain 1337"),
        (
            "HUB_OWNER_ACCOUNT_ADDRESS",
            b"\1" * 20,
            "belongs to operator 0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1",
        ),
    ],
)
def test_wrong_settings_are_refused(
    node: DevelopmentNode, db: None, settings: Any, name: str, value: object, sentence: str
) -> None:
    setattr(settings, name, value)
    with pytest.raises(WrongChainError, match=sentence):
        chain.check_chain()


def test_another_contract_is_refused(node: DevelopmentNode, db: None, settings: Any) -> None:
    settings.HUB_LQD_CONTRACT_ADDRESS = parse_address(node.token.address)
    with pytest.raises(WrongChainError, match="is not a commit-chain"):
        chain.check_chain()


def test_confirmations_that_leave_no_time_to_answer_are_refused(
    node: DevelopmentNode, db: None, settings: Any
) -> None:
    settings.HUB_LQD_CONTRACT_CONFIRMATIONS = BLOCKS_PER_EON // 4 - 1
    with pytest.raises(
        WrongChainError, match=r"takes the answer .* in fewer than 6 blocks.* Choose at most 4"
    ):
        chain.check_chain()
    with pytest.raises(CommandError, match="HUB_LQD_CONTRACT_CONFIRMATIONS is 5"):
        call_command("prepare_hub")
    settings.HUB_LQD_CONTRACT_CONFIRMATIONS = BLOCKS_PER_EON // 4 - 2
    chain.check_chain()


def test_a_database_of_another_chain_is_refused(node: DevelopmentNode, db: None) -> None:
    chain.check_chain()
    ContractParameters.objects.update(genesis_hash=b"\1" * 32)
    chain.forget()
    with pytest.raises(WrongChainError, match="genesis_hash 0x0101"):
        chain.chain()


def test_preparing_twice_changes_nothing(hub: Hub) -> None:
    before = [
        list(model.objects.values_list("pk", flat=True))
        for model in (Token, Wallet, TOSConfig, EthereumTransaction)
    ]
    call_command("prepare_hub", timeout=1.0)
    after = [
        list(model.objects.values_list("pk", flat=True))
        for model in (Token, Wallet, TOSConfig, EthereumTransaction)
    ]
    assert before == after
    assert [token.short_name for token in Token.objects.all()] == ["ETH", "LQD"]
    assert [wallet.trail_identifier for wallet in Wallet.objects.all()] == [0, 0]


def test_preparing_a_wrong_hub_says_why(node: DevelopmentNode, db: None, settings: Any) -> None:
    settings.HUB_ETHEREUM_CHAIN_ID = 5
    with pytest.raises(CommandError, match="the node is on chain 1337"):
        call_command("prepare_hub")


def test_a_token_without_contract_is_refused(hub: Hub) -> None:
    from contractor.tokens import register_token

    with pytest.raises(WrongChainError, match="no token contract"):
        register_token(b"\1" * 20, "None", "NON")


def test_an_alarm_is_raised_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    alarms.forget()
    assert alarms.raise_alarm("test", "one")
    assert not alarms.raise_alarm("test", "one")
    assert alarms.raise_alarm("test", "two")
    assert caplog.text.count("ALARM test") == 2


def test_queueing_does_not_load_web3() -> None:
    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'operator_api.settings'; django.setup();"
        "import contractor.transactions, contractor.node, contractor.follower, heartbeat.tasks;"
        "sys.exit('web3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
