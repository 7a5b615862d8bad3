"""Requests that nobody thought of, made from the swagger page: every answer must be as that page says.

    python -m tests.fuzz [--cases 200] [--seed 1]

makes a ledger that was played on, starts a server as the hub does and sends so many requests to each endpoint,
right and wrong ones. Most take names from the ledger, and most bodies are signed ones with one value replaced, so
that they get further than the first check. Prints how many answers of each status there were.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi import checks as _openapi


def no_bug(context: Any, response: Any, case: Any) -> None:
    """503 is an answer, too: the hub has read no chain yet."""
    assert response.status_code < 500 or response.status_code == 503, response.text


CHECKS: list[Any] = [
    no_bug,
    _openapi.status_code_conformance,
    _openapi.content_type_conformance,
    _openapi.response_schema_conformance,
    _openapi.response_headers_conformance,
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**300),
    st.floats(),
    st.text(max_size=150),
    st.sampled_from(
        ["", "0", "-1", "1e300", "0x", "f" * 40, "00" * 65, "ff" * 65, 2**63, 2**256, [], {}, [[]], [{}]]
    ),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["value", "address", "token"]), st.text(max_size=5), max_size=2),
)


@dataclass
class Known:
    """What is true of the ledger that requests are sent to."""

    addresses: list[str]
    tokens: list[str]
    numbers: list[int]
    """Of rows, of eons, of blocks."""
    bodies: dict[str, list[Any]] = field(default_factory=dict)
    """By endpoint, bodies that are signed and accepted, once."""


def known(play: Any) -> Known:
    """Play on a fresh ledger and say what is there then."""
    from ledger import store
    from nocust.addresses import to_checksum
    from operator_api.simulation.traders import order_body
    from operator_api.simulation.wallets import SimulatedWallet, transfer_body
    from swapper.tests import market
    from swapper.tests.test_ending_endpoints import cancellation, finalization, freezing
    from tos import services as tos

    market.market(play)
    ether = play.register(4)
    others = play.register(2, play.tokens[1])
    for player in (*ether, *others):
        play.deposit(player, 10**18)
    play.pay(ether[0], ether[1], 5)
    play.next_eon()
    play.pay(ether[0], ether[1], 7)
    play.pay(ether[1], ether[2], 3)
    play.request_withdrawal(ether[3], 11)
    play.next_eon()
    for player in ether:
        player.enter(play.eon)
    maker, taker, frozen, newcomer = (market.trader(play, 1000, sells) for sells in (0, 1, 0, 0))
    rows = [market.place(one, 1000, 1000, eons=3).order.row for one in (maker, taker, frozen)]
    market.fill(taker, maker, 400, 400)
    store.execute([frozen.freeze()])
    fresh = SimulatedWallet.create(play.contract, play.contract)
    registration = fresh.registration(play.eon, tos.digest(play.config))
    block = play.status.first_block_of(play.eon) + 50
    withdrawal = {
        "signature": ether[2].delegation(5, block).hex(),
        "wallet": to_checksum(ether[2].address),
        "token": to_checksum(ether[2].token),
        "amount": "5",
        "expiry": block,
    }
    bodies = {
        "/transfer/": [transfer_body(ether[0].transfer(ether[1].owner, amount)) for amount in (1, 10**30)],
        "/admission/": [registration],
        "/admission/bulk/": [{"admissions": [registration]}],
        "/transfer/delegated_withdrawal/": [withdrawal],
        "/tos/": [{"address": registration["address"], "tos_signature": registration["tos_signature"]}],
        "/sla/{wallet}/": [{"transfer_id": 1}],
        "/swap/": [order_body(newcomer.place(1000, 10**6, eons)) for eons in (1, 3)],
        "/swap/{row}/freeze/": [freezing(maker.freeze())],
        "/swap/{row}/cancel/": [cancellation(frozen.cancel(0, 0))],
        "/swap/{row}/finalize/": [finalization(taker.finalize(400))],
    }
    return Known(
        addresses=[to_checksum(player.address) for player in (*ether, *others)],
        tokens=[to_checksum(token.address) for token in play.tokens],
        numbers=[0, 1, 2, 3, play.eon, 60, 120, *rows],
        bodies=bodies,
    )


def leaves(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a document are."""
    if path:
        yield path
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    for key, value in items:
        yield from leaves(value, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value at one place."""
    result = copy.deepcopy(document)
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result


def aim(case: Any, data: Any, facts: Known) -> None:
    """Let a request name what there is, in most cases."""
    template = case.operation.path
    if case.path_parameters and data.draw(st.integers(0, 3)):
        for name in case.path_parameters:
            pool: list[Any] = facts.numbers
            if "token" in name:
                pool = facts.tokens
            elif name == "wallet":
                pool = facts.addresses
            case.path_parameters[name] = str(data.draw(st.sampled_from(pool)))
    bodies = facts.bodies.get(template)
    if bodies and case.method.upper() != "GET" and data.draw(st.integers(0, 3)):
        body = data.draw(st.sampled_from(bodies))
        if data.draw(st.integers(0, 9)):
            place = data.draw(st.sampled_from(list(leaves(body))))
            body = replaced(body, place, data.draw(LEAVES))
        case.body = json.loads(
            json.dumps(body, default=str, allow_nan=True).replace("NaN", "null").replace("Infinity", "1")
        )
        case.media_type = "application/json"


class Failures(Exception):
    """Answers that are not as documented."""


def run(schema: Any, facts: Known, cases: int, first: int, say: Callable[[str], None]) -> Counter[int]:
    """Send `cases` requests to each endpoint, half of them wrong by design; the answers by status.

    Raises Failures that tell of every endpoint with one request that is answered wrongly.
    """
    statuses: Counter[int] = Counter()
    failures = []
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                test = prober(operation, mode, facts, cases // 2, first, statuses)
                test()
            except Unsatisfiable:
                pass  # nothing in such a request can be wrong
            except (Exception, BaseExceptionGroup) as error:
                failures.append(f"{operation.method.upper()} {operation.path}: {error}")
        say(f"{operation.method.upper()} {operation.path}")
    if failures:
        raise Failures("\n\n".join(failures))
    return statuses


def prober(
    operation: Any, mode: Any, facts: Known, cases: int, first: int, statuses: Counter[int]
) -> Callable[[], None]:
    """The test of one endpoint."""
    strategy = operation.as_strategy(generation_mode=mode)

    @seed(first)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(case=strategy, data=st.data())
    def test(case: Any, data: Any) -> None:
        aim(case, data, facts)
        response = case.call()
        statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    return test


def main() -> None:
    from benchmarks.common import ledger_database
    from benchmarks.server import server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=200, help="requests to each endpoint")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with ledger_database() as url:
        from operator_api.simulation.play import Play

        facts = known(Play())
        with server(url) as port:
            base = f"http://127.0.0.1:{port}"
            schema = schemathesis.openapi.from_url(f"{base}/swagger/?format=openapi")
            statuses = run(
                schema, facts, arguments.cases, arguments.seed, lambda line: print(line, flush=True)
            )
    json.dump({"requests": statuses.total(), "statuses": dict(sorted(statuses.items()))}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
