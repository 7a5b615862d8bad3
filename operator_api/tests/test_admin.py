"""The admin as a browser sees it: Django's client with forgery checks on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from ledger.models import Blacklist, ChainStatus, Outbox, TokenPair, Transfer, Wallet
from nocust.addresses import to_checksum
from nocust.signatures import private_key_address
from operator_api import logins
from operator_api.admin_site import site
from operator_api.admin_tables import TableAdmin
from operator_api.limits import Buckets
from operator_api.models import OperatorAction
from operator_api.simulation.play import Play
from swapper.tests import market
from synchronizer.models import SetAside

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent.parent
ADD = "/admin/operator_api/operatoraction/add/"
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _logins(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher"
    ]  # the others are slow by design
    cache.clear()
    monkeypatch.setattr(logins, "_alone", Buckets(rate=1 / 30, size=10))


@pytest.fixture
def play() -> Play:
    game = Play()
    market.market(game)
    alice, bob = game.register(2)
    game.deposit(alice, 100)
    game.pay(alice, bob, 5)
    return game


class Browser:
    """Somebody at the admin."""

    def __init__(self, **flags: Any) -> None:
        self.user = User.objects.create_user("olga", password=PASSWORD, **flags)
        self.client = Client(enforce_csrf_checks=True)

    def post(self, path: str, **values: Any) -> Any:
        page = self.client.get(path).content.decode()
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token is not None
        return self.client.post(path, {**values, "csrfmiddlewaretoken": token[1]})

    def log_in(self, password: str = PASSWORD) -> Any:
        return self.post("/admin/login/?next=/admin/", username="olga", password=password)

    def act(self, action: str, **values: Any) -> Any:
        return self.post(ADD, action=action, **{"reason": "because", **values})


@pytest.fixture
def olga() -> Browser:
    browser = Browser(is_staff=True, is_superuser=True)
    assert browser.log_in().status_code == 302
    return browser


def test_nobody_gets_in_without_an_account(play: Play) -> None:
    client = Client()
    for path in ("/admin/", ADD, "/admin/ledger/wallet/"):
        assert client.get(path)["Location"].startswith("/admin/login/")
    browser = Browser(is_staff=True)
    assert b"Please enter the correct" in browser.log_in("wrong").content
    assert browser.log_in().status_code == 302
    assert browser.client.get("/admin/ledger/wallet/").status_code == 403
    assert browser.client.get(ADD).status_code == 403


def test_passwords_are_not_guessed(play: Play) -> None:
    browser = Browser(is_staff=True, is_superuser=True)
    assert [browser.log_in("wrong").status_code for _ in range(12)] == [200] * 10 + [429] * 2
    assert browser.log_in().status_code == 429


OTHER_PROCESS = """
import django
django.setup()
from operator_api import logins
print([logins.too_many("192.0.2.7") for _ in range(6)])
"""


def test_attempts_are_counted_by_all_processes_together() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "operator_api.settings"}
    assert not any(logins.too_many("192.0.2.7") for _ in range(5))
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[False, False, False, False, False, True]"
    assert logins.too_many("192.0.2.7")
    assert not logins.too_many("192.0.2.8")


def test_without_redis_each_process_counts(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }
    assert [logins.too_many("192.0.2.7") for _ in range(12)] == [False] * 10 + [True] * 2
    assert "counted by each process" in caplog.text
    assert "192.0.2.7" not in caplog.text


def test_forged_requests_do_nothing(play: Play, olga: Browser) -> None:
    answer = olga.client.post(ADD, {"action": "maintenance on", "reason": "because"})
    assert answer.status_code == 403
    assert not ChainStatus.objects.get().maintenance


def test_every_table_is_shown_and_none_is_changed(play: Play, olga: Browser) -> None:
    models = [model for model, admin in site._registry.items() if isinstance(admin, TableAdmin)]
    assert {Wallet, Transfer, TokenPair, ChainStatus} <= set(models)
    assert len(models) > 30
    for model in models:
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert olga.client.get(path).status_code == 200, path
        assert olga.client.get(f"{path}?q=1").status_code == 200
        assert olga.client.get(f"{path}?q={'ab' * 20}").status_code == 200
        assert olga.client.get(f"{path}?q={'ab' * 32}").status_code == 200
        row = model._default_manager.first()
        if row is None:
            continue
        page = f"{path}{row.pk}/change/"
        assert olga.client.get(page).status_code == 200, page
        if model is not OperatorAction:
            assert olga.client.get(f"{path}add/").status_code == 403
        assert olga.client.post(page, {}).status_code == 403
        assert olga.client.get(f"{path}{row.pk}/delete/").status_code == 403


def test_a_wallet_is_found_by_its_address_and_shown_as_people_write_it(play: Play, olga: Browser) -> None:
    alice = Wallet.objects.order_by("-id").first()
    assert alice is not None
    for text in (to_checksum(alice.address), alice.address.hex().upper()):
        page = olga.client.get(f"/admin/ledger/wallet/?q={text}").content.decode()
        assert "1 wallet" in page
        assert to_checksum(alice.address) in page
    rows = olga.client.get(f"/admin/ledger/account/?q={to_checksum(alice.address)}").content.decode()
    assert f"/admin/ledger/wallet/{alice.pk}/change/" in rows
    assert "0 wallets" in olga.client.get(f"/admin/ledger/wallet/?q={'12' * 20}").content.decode()
    signature = alice.registration_operator_authorization.hex()
    assert signature not in olga.client.get("/admin/ledger/wallet/").content.decode()  # too long for a list
    assert signature in olga.client.get(f"/admin/ledger/wallet/{alice.pk}/change/").content.decode()


def test_a_large_table_costs_a_few_queries(play: Play, olga: Browser) -> None:
    play.register(60)
    with CaptureQueriesContext(connection) as found:
        olga.client.get("/admin/ledger/wallet/")
    assert len(found) < 12


def test_maintenance_is_switched_and_written_down(play: Play, olga: Browser) -> None:
    assert olga.act("maintenance on", reason="moving").status_code == 302
    assert ChainStatus.objects.get().maintenance
    row = OperatorAction.objects.get()
    assert (row.who, row.action, row.reason) == ("olga", "maintenance on", "moving")
    assert row.time > timezone.now() - timedelta(minutes=1)
    assert LogEntry.objects.get().object_id == str(row.pk)
    again = olga.act("maintenance on", reason="moving <once> more")
    assert again.status_code == 200
    assert b"Nothing was done: maintenance is on already" in again.content
    assert b"moving &lt;once&gt; more" in again.content  # what was typed is still there
    assert b'value="maintenance on" selected' in again.content
    assert OperatorAction.objects.count() == LogEntry.objects.count() == 1
    olga.act("maintenance off")
    assert not ChainStatus.objects.get().maintenance


def test_pairs_addresses_and_events(play: Play, olga: Browser) -> None:
    pair = TokenPair.objects.first()
    assert pair is not None
    assert olga.act("pause pair", pair=pair.pk).status_code == 302
    assert set(TokenPair.objects.values_list("paused", flat=True)) == {True}
    olga.act("resume pair", pair=pair.pk)
    assert set(TokenPair.objects.values_list("paused", flat=True)) == {False}
    olga.act("bar address", address="0x" + "12" * 20)
    assert Blacklist.objects.get().address == b"\x12" * 20
    olga.act("let address in", address="12" * 20)
    assert not Blacklist.objects.exists()
    event = SetAside.objects.create(event="STATUS", object_id=1, created=timezone.now(), reason="x")
    before = Outbox.objects.count()
    olga.act("tell again", event=event.pk)
    assert Outbox.objects.count() == before + 1
    assert OperatorAction.objects.count() == 5


@pytest.mark.parametrize(
    ("action", "values", "complaint"),
    [
        ("", {}, "This field is required."),
        ("pause pair", {}, "This action needs it."),
        ("resync", {}, "This action needs it."),
        ("resync", {"block": "-1"}, "greater than or equal to 0"),
        ("resync", {"block": "1"}, "Nothing was done: block 1 is not applied yet"),
        ("bar address", {"address": "0x12"}, "40 hexadecimal digits"),
        ("bar address", {}, "This action needs it."),
        ("tell again", {"event": "7"}, "not one of the available choices"),
        ("maintenance on", {"reason": " "}, "This field is required."),
        ("stop the world", {}, "not one of the available choices"),
    ],
)
def test_what_is_not_right_is_not_done(
    play: Play, olga: Browser, action: str, values: dict[str, str], complaint: str
) -> None:
    answer = olga.act(action, **values)
    assert answer.status_code == 200
    assert complaint in answer.content.decode()
    assert not OperatorAction.objects.exists()


def test_accounts_may_act_without_being_almighty(play: Play) -> None:
    browser = Browser(is_staff=True)
    names = ("add_operatoraction", "view_operatoraction")
    browser.user.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser.log_in()
    assert browser.act("maintenance on").status_code == 302
    assert OperatorAction.objects.get().who == "olga"
    assert browser.client.get("/admin/auth/user/").status_code == 403


def test_the_api_knows_no_sessions(play: Play, olga: Browser) -> None:
    assert {cookie["path"] for cookie in olga.client.cookies.values()} == {"/admin/"}
    with CaptureQueriesContext(connection) as found:
        answer = olga.client.get("/audit/tokens/")
    assert answer.status_code == 200
    assert not answer.cookies
    assert not [query for query in found if "session" in query["sql"] or "auth_user" in query["sql"]]
    assert "Cookie" not in answer.get("Vary", "")


@pytest.mark.parametrize(("path", "found"), [("", "False False"), ("some/where", "True True")])
def test_the_path_is_the_operator_s_choice(path: str, found: str) -> None:
    code = (
        "import django; django.setup()\n"
        "from django.conf import settings\n"
        "from django.urls import resolve, Resolver404\n"
        "from operator_api.wsgi import application\n"
        "import sys\n"
        "def there(path):\n"
        "    try: return bool(resolve(path))\n"
        "    except Resolver404: return False\n"
        "print('operator_api.admin_site' in sys.modules or there('/some/where/'), there('/some/where/login/'))\n"
        "assert not there('/admin/')\n"
    )
    environment = {
        "DJANGO_SETTINGS_MODULE": "operator_api.settings",
        "PATH": "/usr/bin:/bin",
        "HUB_ADMIN_PATH": path,
    }
    if not path:
        environment |= {"HUB_ADMIN_PATH": "", **PRODUCTION}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == found, done.stderr


KEY = b"\x42" * 32
PRODUCTION = {
    "RUNNING_IN_PRODUCTION": "true",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN",
    "DATABASE_URL": "postgresql://hub:secret@127.0.0.1:1/hub",
    "REDIS_URL": "redis://:secret@127.0.0.1:1",
    "HUB_OWNER_ACCOUNT_ADDRESS": to_checksum(private_key_address(KEY)),
    "HUB_OWNER_ACCOUNT_KEY": KEY.hex(),
    "HUB_LQD_CONTRACT_ADDRESS": "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7",
    "HUB_LQD_CONTRACT_CONFIRMATIONS": "20",
    "SLA_TOKEN_ADDRESS": "0xe982E462b094850F12AF94d21D470e21bE9D0E9C",
    "HUB_ETHEREUM_NODE_URL": "http://127.0.0.1:1",
    "HUB_ETHEREUM_NETWORK_IS_POA": "false",
    "NOTIFICATION_HOOK_URL": "http://127.0.0.1:1",
    "SERVER_NAME": "test",
    "ALLOWED_HOSTS": "hub.example",
}
