"""Where the operator's key comes from, and that a wrong one stops the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from eth_keyfile.keyfile import create_keyfile_json

from ledger import store
from nocust.signatures import Signer, is_valid, private_key_address
from operator_api import keys
from operator_api.keys import SignedTransaction

ROOT = Path(__file__).resolve().parents[2]
KEY = b"\x42" * 32
ADDRESS = private_key_address(KEY)
MESSAGE = b"\7" * 32


@pytest.fixture(autouse=True)
def _forget(settings: Any) -> Iterator[None]:
    settings.HUB_OWNER_ACCOUNT_ADDRESS = ADDRESS
    settings.HUB_OWNER_ACCOUNT_KEY = b""
    keys.operator_key.cache_clear()
    yield
    keys.operator_key.cache_clear()


@pytest.fixture
def keystore(tmp_path: Path, settings: Any) -> Path:
    file, password = tmp_path / "key.json", tmp_path / "password"
    made = create_keyfile_json(KEY, b"correct horse", iterations=1000)
    file.write_text(json.dumps(made))
    password.write_text("correct horse\n")
    settings.HUB_OWNER_ACCOUNT_KEYSTORE = str(file)
    settings.HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE = str(password)
    return file


def test_the_key_of_the_environment(settings: Any) -> None:
    settings.HUB_OWNER_ACCOUNT_KEY = KEY
    assert store.operator().address == ADDRESS
    assert is_valid(MESSAGE, store.operator().sign(MESSAGE), ADDRESS)
    assert KEY.hex() not in repr(store.operator())


def test_the_key_of_a_keystore(keystore: Path) -> None:
    assert store.operator().sign(MESSAGE) == Signer(KEY).sign(MESSAGE)


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_signed_transaction_is_the_operators(keystore: Path, dynamic: bool) -> None:
    from eth_account import Account

    fields: dict[str, Any] = {
        "nonce": 3,
        "gas": 21_000,
        "to": b"\1" * 20,
        "value": 0,
        "data": b"",
        "chainId": 1337,
    }
    fields |= {"type": 2, "maxFeePerGas": 5, "maxPriorityFeePerGas": 2} if dynamic else {"gasPrice": 5}
    signed = store.operator().sign_transaction(fields)
    assert bytes.fromhex(Account.recover_transaction(signed.raw)[2:]) == ADDRESS
    assert len(signed.hash) == 32
    assert (signed.raw[0] == 2) == dynamic


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: (file.parent / "password").write_text("battery"), "the password is wrong"),
        (lambda file: file.write_text("{}"), "it is no keystore of version 3"),
        (lambda file: file.write_text("not json"), "it is no keystore of version 3"),
        (lambda file: file.unlink(), "No such file"),
        (lambda file: (file.parent / "password").unlink(), "No such file"),
    ],
)
def test_a_bad_keystore_says_why(keystore: Path, spoil: Any, reason: str) -> None:
    spoil(keystore)
    with pytest.raises(ImproperlyConfigured, match=reason) as error:
        store.operator()
    assert "correct horse" not in str(error.value)


def test_a_key_of_somebody_else_is_refused(keystore: Path, settings: Any) -> None:
    settings.HUB_OWNER_ACCOUNT_ADDRESS = b"\1" * 20
    with pytest.raises(ImproperlyConfigured, match="HUB_OWNER_ACCOUNT_ADDRESS says 0x0101"):
        store.operator()


class RemoteKey:
    """A signer elsewhere, as an operator may write one."""

    address = ADDRESS

    def sign(self, message: bytes) -> bytes:
        return Signer(KEY).sign(message)

    def sign_transaction(self, fields: Mapping[str, Any]) -> SignedTransaction:
        return keys.LocalKey(KEY).sign_transaction(fields)


def test_a_signer_of_the_operators_own(settings: Any) -> None:
    settings.HUB_OWNER_ACCOUNT_SIGNER = f"{__name__}.RemoteKey"
    assert type(store.operator()).__name__ == "RemoteKey"
    assert is_valid(MESSAGE, store.operator().sign(MESSAGE), ADDRESS)


def test_a_signer_that_does_not_exist(settings: Any) -> None:
    settings.HUB_OWNER_ACCOUNT_SIGNER = "nowhere.signer"
    with pytest.raises(ImproperlyConfigured, match="HUB_OWNER_ACCOUNT_SIGNER"):
        store.operator()


PRODUCTION = {
    "RUNNING_IN_PRODUCTION": "true",
    "SECRET_KEY": "0123456789abcdef" * 3,
    "SERVER_NAME": "a hub",
    "SLA_TOKEN_ADDRESS": "0x" + "22" * 20,
    "DATABASE_URL": "postgresql://hub@127.0.0.1/hub",
    "REDIS_URL": "redis://127.0.0.1",
    "HUB_OWNER_ACCOUNT_ADDRESS": "0x" + ADDRESS.hex(),
    "HUB_LQD_CONTRACT_ADDRESS": "0x" + "11" * 20,
    "HUB_ETHEREUM_NODE_URL": "http://127.0.0.1:1,http://127.0.0.1:2",
    "ALLOWED_HOSTS": "hub.example",
}


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"HUB_OWNER_ACCOUNT_KEY": KEY.hex()}, None),
        (
            {"HUB_OWNER_ACCOUNT_KEYSTORE": "/k", "HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE": "/p"},
            "/p cannot be",
        ),
        (
            {
                "HUB_OWNER_ACCOUNT_KEYSTORE": __file__,
                "HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE": __file__,
            },
            None,
        ),
        ({}, "HUB_OWNER_ACCOUNT_KEYSTORE: not set"),
        ({"HUB_OWNER_ACCOUNT_KEYSTORE": "/k"}, "set both or neither"),
        (
            {"HUB_OWNER_ACCOUNT_SIGNER": "a.b", "HUB_OWNER_ACCOUNT_KEY": KEY.hex()},
            "the operator has one key",
        ),
        ({"HUB_OWNER_ACCOUNT_KEY": "11" * 32}, "is not the key of HUB_OWNER_ACCOUNT_ADDRESS"),
        ({"HUB_OWNER_ACCOUNT_KEY": KEY.hex(), "HUB_FEE_CAP": "5"}, "HUB_FEE_CAP: is below"),
        ({"HUB_OWNER_ACCOUNT_KEY": KEY.hex(), "HUB_BUMP_PERCENT": "105"}, "must be at least 110"),
        ({"HUB_OWNER_ACCOUNT_KEY": KEY.hex(), "HUB_ETHEREUM_NODE_URL": "node:1"}, "http:// or https://"),
    ],
)
def test_production_starts_only_with_good_settings(variables: dict[str, str], problem: str | None) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", "import operator_api.settings"],
        cwd=ROOT,
        env=kept | PRODUCTION | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (problem is None), done.stderr
    if problem is not None:
        assert problem in done.stderr
    assert KEY.hex() not in done.stderr
