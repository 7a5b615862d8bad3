"""Vectors of order flow through the matcher (``spec/ledger.md`` §8)."""

from nocust.matching import Book, Fill, Order
from nocust.vectors.view import MismatchError, Scalar, View

_MATCH = ("taker", "maker", "taker_to_maker", "maker_to_taker")


class _Run:
    """A scenario as our matcher plays it: orders wait for the next run of the matcher."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.frozen: set[int] = set()
        self._waiting: dict[int, tuple[Book, int]] = {}
        self._books: dict[tuple[str, ...], Book] = {}

    def step(self, step: View) -> None:
        operation = step["op"].text
        if operation == "order":
            self._order(step)
        elif operation == "freeze":
            self._freeze(step["id"])
        elif operation == "run_matcher":
            orders = list(self.orders.values())
            for key, (book, direction) in self._waiting.items():
                self.fills += book.take(direction, orders[key])
            self._waiting.clear()
        else:
            raise MismatchError(step["op"].path, "order, freeze or run_matcher", operation)

    def _order(self, step: View) -> None:
        name, give, want = step["id"].text, step["give_token"].text, step["want_token"].text
        if name in self.orders or give == want:
            raise MismatchError(step.path, "a new order for another token", f"{name}, {give} for {want}")
        key = len(self.orders)
        self.orders[name] = Order(
            key, key, step["amount"].integer, step["amount_swapped"].integer, step["sell_order"].flag
        )
        tokens = sorted((give, want))
        self._waiting[key] = self._books.setdefault(tuple(tokens), Book()), tokens.index(give)

    def _freeze(self, name: View) -> None:
        order = self.orders.get(name.text)
        if order is None:
            raise MismatchError(name.path, "an order placed before", name.raw)
        self.frozen.add(order.key)
        if self._waiting.pop(order.key, None) is None:
            for book in self._books.values():
                book.remove(order.key)

    def matches(self) -> list[dict[str, Scalar]]:
        names = list(self.orders)
        return [
            {
                "taker": names[fill.taker],
                "maker": names[fill.maker],
                "taker_to_maker": str(fill.taker_gives),
                "maker_to_taker": str(fill.maker_gives),
            }
            for fill in self.fills
        ]

    def final(self) -> dict[str, dict[str, Scalar]]:
        return {
            name: {
                "matched_out": str(order.matched_out),
                "matched_in": str(order.matched_in),
                "complete": order.complete,
            }
            for name, order in self.orders.items()
        }


def check_matching(file: View) -> None:
    """Trades and totals of each scenario.

    What the exact model says counts; what the reference did is compared where the file says that it is the
    same, and must differ elsewhere.
    """
    for entry in file["matching"]["scenarios"]:
        run = _Run()
        for step in entry["steps"]:
            run.step(step)
        _expect(entry["exact_integer_model"], run)
        if entry["reference_equals_exact"].flag:
            _expect(entry, run)
            for name, order in run.orders.items():
                entry["final"][name]["cancelled"].expect(order.key in run.frozen)
        else:
            entry["reference_equals_exact"].expect(_agrees(entry, run))


def _expect(entry: View, run: _Run) -> None:
    matches, final = run.matches(), run.final()
    for computed, match in zip(matches, entry["matches"], strict=False):
        for field, value in computed.items():
            match[field].expect(value)
    entry["matches"].exact_length(len(matches))
    names = list(entry["final"].raw) if isinstance(entry["final"].raw, dict) else []
    if sorted(names) != sorted(final):
        raise MismatchError(entry["final"].path, ", ".join(names), ", ".join(final))
    for name, totals in final.items():
        for field, total in totals.items():
            entry["final"][name][field].expect(total)


def _agrees(entry: View, run: _Run) -> bool:
    """Whether trades and totals of `entry` are those of the run."""
    matches = [{field: match[field].text for field in _MATCH} for match in entry["matches"]]
    totals = entry["final"]
    final = {
        name: {
            "matched_out": totals[name]["matched_out"].text,
            "matched_in": totals[name]["matched_in"].text,
            "complete": totals[name]["complete"].flag,
        }
        for name in run.orders
    }
    return (matches, final) == (run.matches(), run.final())
