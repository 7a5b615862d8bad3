"""The audit endpoints through HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from ledger.models import Transfer
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db
ETHER = "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7"


def get(path: str, status: int = 200, **query: Any) -> Any:
    response = APIClient().get(path, query)
    assert response.status_code == status, response.content
    assert response["content-type"].split(";")[0] in {"application/json", "application/openapi+json"}
    return response.json()


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def pair(play: Play) -> list[SimulatedWallet]:
    """Two wallets: the first paid 1, 2 and 3 to the second in eon 1, and 4 in eon 2."""
    alice, bob = play.register(2)
    play.deposit(alice, 1000)
    for amount in (1, 2, 3):
        play.pay(alice, bob, amount)
    play.next_eon()
    play.pay(alice, bob, 4)
    return [alice, bob]


@pytest.mark.parametrize("path", ["/audit", "/audit/"])
def test_status(play: Play, path: str) -> None:
    play.next_eon()
    assert get(path) == {
        "latest": {"block": 60, "eon_number": 2},
        "confirmed": {"block": 59, "eon_number": 1},
        "blocks_per_eon": 60,
        "confirmation_blocks": 3,
    }


def test_a_hub_that_has_not_read_the_chain_says_so(db: None) -> None:
    assert "detail" in get("/audit", 503)
    assert get("/audit/tokens/") == []


@pytest.mark.parametrize("path", ["/audit/tokens", "/audit/tokens/"])
def test_tokens(play: Play, path: str) -> None:
    play.add_token(bytes(20), "Nought", "N")
    assert get(path) == [
        {"address": ETHER, "name": "Ethereum", "short_name": "ETH"},
        {"address": "0x" + "0" * 40, "name": "Nought", "short_name": "N"},
    ]


@pytest.mark.parametrize("prefix", ["", "0x"])
@pytest.mark.parametrize("end", ["", "/"])
def test_whois_in_every_spelling(play: Play, prefix: str, end: str) -> None:
    (alice,) = play.register(1)
    spelt = alice.address.hex()
    for address in (spelt, spelt.upper()):
        for token in (ETHER, ETHER[2:].lower()):
            answer = get(f"/audit/{token}/{prefix}{address}/whois{end}")
            assert answer["eon_number"] == 1
            assert answer["trail_identifier"] == alice.trail
            assert len(answer["authorization"]) == len(answer["operator_authorization"]) == 130


@pytest.mark.parametrize(
    "path",
    [
        f"/audit/{ETHER}/{'9' * 40}/whois",
        f"/audit/1/{ETHER}/{'9' * 40}/",
        f"/audit/{'9' * 40}/{'9' * 40}/whois",
        f"/audit/undefined/{ETHER}/whois",
        f"/audit/1/undefined/{ETHER}/",
        f"/audit/-1/{ETHER}/{ETHER}/",
        f"/audit/{ETHER}/0x123/whois",
        "/audit/transactions/1",
        f"/audit/transactions/{'9' * 200}/",
        "/audit/transactions/x/",
        "/audit/nothing",
    ],
)
def test_what_does_not_exist_is_404(play: Play, path: str) -> None:
    assert set(get(path, 404)) == {"detail"}


def test_wallet_state(play: Play, pair: list[SimulatedWallet]) -> None:
    alice, bob = pair
    path = f"{ETHER}/{alice.address.hex()}"
    first = get(f"/audit/1/{path}/")
    assert first["merkle_proof"] is None
    assert [row["amount"] for row in first["transactions"]] == ["1", "2", "3"]
    assert [row["amount"] for row in first["deposits"]] == ["1000"]
    assert all(row["delivery_proof"]["merkle_proof"]["trail"] == bob.trail for row in first["transactions"])
    second = get(f"/audit/2/{path}")
    assert second["merkle_proof"]["right"] == "994"
    assert [row["delivery_proof"] for row in second["transactions"]] == [None]
    for eon in ("3", "99999999999999999999999999", "0", "9" * 500):
        future = get(f"/audit/{eon}/{path}/")
        assert future["merkle_proof"] is None
        assert future["transactions"] == future["deposits"] == []


def test_wallet_state_from_a_transfer_on(play: Play, pair: list[SimulatedWallet]) -> None:
    path = f"/audit/1/{ETHER}/{pair[0].address.hex()}/"
    ids = list(Transfer.objects.filter(eon_number=1).values_list("pk", flat=True))
    assert [row["id"] for row in get(path, transfer_id=ids[1])["transactions"]] == ids[1:]
    assert get(path, transfer_id=10**40)["transactions"] == []
    assert len(get(path, transfer_id=-5, txId=3, eon=1)["transactions"]) == 3
    for bad in ("x", "1.5", "1_0", "٣", "null", "9" * 500):
        assert get(path, 400, transfer_id=bad)["transfer_id"][0]["code"] == "invalid"


def test_one_transaction(play: Play, pair: list[SimulatedWallet]) -> None:
    rows = Transfer.objects.order_by("id")
    for end in ("", "/"):
        old, new = (get(f"/audit/transactions/{rows[i].pk}{end}") for i in (0, 3))
        assert old["amount"], new["amount"] == ("1", "4")
        assert old["delivery_proof"]["merkle_proof"]["eon_number"] == 2
        assert new["delivery_proof"] is None


def amounts(**query: Any) -> list[str]:
    return [row["amount"] for row in get("/audit/transactions", **query)["results"]]


def test_pages(play: Play, pair: list[SimulatedWallet]) -> None:
    for amount in range(5, 15):
        play.pay(pair[0], pair[1], amount)
    first = get("/audit/transactions/")
    assert (first["count"], first["previous"], len(first["results"])) == (14, None, 10)
    second = APIClient().get(first["next"]).json()
    assert [row["amount"] for row in second["results"]] == ["11", "12", "13", "14"]
    assert (second["next"], second["previous"] is None) == (None, False)
    assert len(amounts(limit=1000)) == 14
    for garbage in ("0", "-1", "x", ""):
        assert len(amounts(limit=garbage, offset=garbage)) == 10
    assert amounts(offset=10**30) == []
    assert set(first) == {"count", "next", "previous", "results"}


def test_filters(play: Play, pair: list[SimulatedWallet]) -> None:
    row = Transfer.objects.order_by("id")[1]
    assert amounts(tx_id=str(row.tx_id), txId="x") == ["2"]
    assert amounts(nonce=str(row.nonce)) == ["2"]
    assert amounts(eon_number=2) == ["4"]
    assert amounts(eon_number="9" * 40) == []
    assert amounts(swap="true") == amounts(voided="1") == amounts(cancelled="TRUE") == []
    assert len(amounts(swap="False", complete="1", passive="perhaps")) == 4
    for name in ("tx_id", "eon_number", "nonce"):
        assert get("/audit/transactions", 400, **{name: "x"})[name][0]["code"] == "invalid"


def test_orderings(play: Play, pair: list[SimulatedWallet]) -> None:
    assert amounts() == amounts(ordering="time") == amounts(ordering="wallet,nothing") == ["1", "2", "3", "4"]
    assert amounts(ordering="-time") == amounts(ordering="-amount") == ["4", "3", "2", "1"]
    assert amounts(ordering="-eon_number,-id") == ["4", "3", "2", "1"]
    assert len(amounts(ordering="get_time,__class__,time__x,-")) == 4


def test_search(play: Play, pair: list[SimulatedWallet]) -> None:
    alice, bob = (player.address.hex() for player in pair)
    carol, dave = play.register(2)
    play.deposit(carol, 50)
    play.pay(carol, dave, 50)
    mine = ["1", "2", "3", "4"]
    assert amounts(search=alice) == amounts(search="0x" + bob.upper()) == mine
    assert amounts(search=f"{ETHER} {alice},{bob}") == mine
    assert amounts(search=f"{alice} {carol.address.hex()}") == []
    assert amounts(search=ETHER[2:]) == [*mine, "50"]
    assert amounts(search="7" * 40) == amounts(search="not hex") == amounts(search="a" * 41) == []
    assert set(mine) <= set(amounts(search=alice[3:20], limit=50))
    assert "50" not in amounts(search=alice[1:30])


def test_search_is_one_page_in_few_queries(
    play: Play, pair: list[SimulatedWallet], django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(6):
        amounts(search=pair[0].address.hex(), ordering="time", limit=1000)


def test_the_documentation_names_every_endpoint(db: None) -> None:
    paths = get("/swagger/", format="openapi")["paths"]
    assert {path for path in paths if path.startswith("/audit")} == {
        "/audit/",
        "/audit/tokens/",
        "/audit/transactions/",
        "/audit/transactions/{transaction_id}/",
        "/audit/{left_token}/{right_token}/orderbook/",
        "/audit/{left_token}/{right_token}/matches/",
        "/audit/{token}/{wallet}/whois/",
        "/audit/{token}/{wallet}/recovery/",
        "/audit/{eon_number}/{token}/{wallet}/",
    }
