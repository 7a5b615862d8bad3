"""The hub's pages in a real browser: the admin, the documentation and the status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.hub.stack import Stack
from tests.browser import Browser, browser, missing

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        bool(missing()),
        reason=f"no {' and no '.join(missing())} here: on Debian, apt-get install chromium chromium-driver",
    ),
]
ROOT = Path(__file__).resolve().parent.parent
NAME, PASSWORD = "olga", "correct horse battery staple"
STRANGER = "0x" + "12" * 20
NOTHING = "rgba(0, 0, 0, 0)"
"""The colour of what no style sheet colours."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(block_time=1, blocks_per_eon=120) as running:
        yield running


@pytest.fixture(scope="module")
def page(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    manage(stack, "createsuperuser", "--noinput", "--username", NAME, "--email", "olga@example.com")
    with browser(stack.hub_url, tmp_path_factory.mktemp("browser")) as found:
        yield found


def manage(stack: Stack, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        cwd=ROOT,
        env={**os.environ, **stack.environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD},
        check=True,
        timeout=120,
    )


def log_in(page: Browser) -> None:
    page.open("admin/")
    if page.all("#id_username"):
        page.type("#id_username", NAME)
        page.type("#id_password", PASSWORD)
        page.click("input[type=submit]")
    page.find("#user-tools")


def test_logging_in(page: Browser) -> None:
    page.open("admin/")
    page.type("#id_username", NAME)
    page.type("#id_password", "wrong")
    page.click("input[type=submit]")
    assert "Please enter the correct username" in page.find(".errornote").text
    page.look("login-refused")
    assert page.style("#header", "background-color") != NOTHING
    log_in(page)
    assert NAME in page.find("#user-tools").text.lower()
    assert page.find("#content-main .module caption").text.lower() == "operator"
    page.look("index")


def test_tables_of_the_ledger_are_shown_and_not_changed(page: Browser) -> None:
    log_in(page)
    page.open("admin/ledger/wallet/")
    assert page.all("#result_list tbody tr")
    assert not page.all(".addlink[href*='/ledger/wallet/add']")
    page.look("wallets")
    page.click("#result_list tbody tr th a")
    page.find(".readonly")
    assert not page.all("#wallet_form input:not([type=hidden])")
    page.look("wallet")
    page.open("admin/ledger/wallet/")
    page.type("#searchbar", "ab" * 20)
    page.click("#changelist-search input[type=submit]")
    page.wait_for_text("0 results")
    page.look("search")


def test_an_operator_bars_an_address_and_lets_it_in(page: Browser) -> None:
    log_in(page)
    page.open("admin/operator_api/operatoraction/add/")
    page.look("action-form")
    page.choose("#id_action", "bar address")
    page.type("#id_reason", "somebody asked us to")
    page.click("input[name=_save]")
    assert "This action needs it." in page.find(".errorlist").text
    page.look("action-incomplete")
    page.type("#id_address", STRANGER)
    page.click("input[name=_save]")
    assert "successfully" in page.find(".messagelist .success").text
    assert STRANGER in page.find("#result_list tbody tr").text
    page.look("actions")
    page.open("admin/operator_api/operatoraction/add/")
    page.choose("#id_action", "bar address")
    page.type("#id_address", STRANGER)
    page.type("#id_reason", "once more")
    page.click("input[name=_save]")
    assert "Nothing was done" in page.find(".errorlist.nonfield").text
    page.look("action-refused")
    page.choose("#id_action", "let address in")  # the address and the reason are still there
    page.click("input[name=_save]")
    assert "let address in" in page.find("#result_list tbody tr").text


def test_the_documentation_is_shown_and_tried_out(page: Browser) -> None:
    page.open("swagger/")
    page.find("#operations-audit-audit_read, #operations-audit-audit_list, .opblock")
    assert len(page.all(".opblock")) >= 26
    page.look("swagger")
    page.click(".opblock[id$='audit_tokens'] .opblock-summary")
    page.click(".opblock[id$='audit_tokens'] .try-out__btn")
    page.click(".opblock[id$='audit_tokens'] .execute")
    page.wait_for_text("Response headers")
    assert (
        "200"
        in page.find(
            ".opblock[id$='audit_tokens'] .live-responses-table tr.response .response-col_status"
        ).text
    )
    page.look("swagger-tried")
    page.open("redoc/")
    page.wait_for_text("NOCUST OPERATOR API")
    page.look("redoc", but="cdn.redoc.ly")  # its makers' picture, which the hub's policy blocks


def test_other_pages(page: Browser) -> None:
    for path, text in {"status/": "eon", "websocket/": "subscribe"}.items():
        page.open(path)
        page.wait_for_text(text)
        page.look(path.strip("/"))
