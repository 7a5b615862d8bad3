"""What the contract must hold, reckoned from its events alone."""

from __future__ import annotations

from collections import defaultdict

from contracts.fuzz.chain import EPOCH, EXTENDED_EPOCH, WALLETS, BrokenGameError, Event
from nocust.accumulator import CANCELLATION, DEPOSIT, WITHDRAWAL_REQUEST, accumulate
from nocust.encoding import ZERO_HASH

Pair = tuple[int, int]
INDEX = {person.address: wallet for wallet, person in enumerate(WALLETS)}


class Mirror:
    """State of the contract by its events. Tokens and wallets are numbers; amounts in smallest units.

    `requests[token, wallet]` lists unpaid requests as (eon, amount), `paid` and `deposited` are totals of a wallet,
    `live` counts challenges by eon.
    """

    def __init__(self, tokens: tuple[bytes, bytes]) -> None:
        self._tokens = {"0x" + token.hex(): index for index, token in enumerate(tokens)}
        self._raw = tokens
        self.accumulators = [ZERO_HASH] * 5
        self.requests: dict[Pair, list[tuple[int, int]]] = defaultdict(list)
        self.settled: dict[Pair, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.deposits: dict[Pair, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.paid: dict[Pair, int] = defaultdict(int)
        self.recovered: dict[Pair, int] = defaultdict(int)
        self.live: dict[int, int] = defaultdict(int)
        self.roots: dict[int, bytes] = {}
        self.last = 0

    # ---- time ----

    def punished(self, eon: int, era: int) -> bool:
        """Whether the chain has halted by then."""
        return eon - self.last > 1 or (self.live[eon - 1] > 0 and era > EPOCH)

    def mature(self, eon: int, era: int) -> int:
        """Newest eon whose requests are payable: those of two eons ago once the current checkpoint is in, so that
        the checkpoint that is final after a halt knows them."""
        return eon - 2 if era >= EXTENDED_EPOCH and self.last == eon else eon - 3

    # ---- events ----

    def apply(self, event: Event, eon: int, era: int) -> None:
        """Books an event. Raises BrokenGameError if it cannot be."""
        name, values = event
        if name == "CheckpointSubmission":
            self.last = values[0]
            self.roots[values[0]] = values[1]
        elif name in {"ChallengeIssued", "ChallengeAnswered"}:
            pass  # counted where the challenged eon is known
        elif name == "Deposit":
            pair = self._pair(values)
            self.deposits[pair][eon] += values[2]
            self._accumulate(eon, pair, DEPOSIT, values[2])
        elif name == "WithdrawalRequest":
            pair = self._pair(values)
            self.requests[pair].append((eon, values[2]))
            self._accumulate(eon, pair, WITHDRAWAL_REQUEST, values[2])
        elif name == "WithdrawalConfirmation":
            self._confirm(self._pair(values), values[2], eon, era)
        elif name == "WithdrawalSlashed":
            self._slash(self._pair(values), (values[2], values[3]), eon)
        elif name == "FundsRecovered":
            pair = self._pair(values)
            self.recovered[pair] += values[2]
            self.paid[pair] += values[2]

    def _pair(self, values: tuple[object, ...]) -> Pair:
        return self._tokens[str(values[0]).lower()], INDEX[str(values[1]).lower()]

    def _accumulate(self, eon: int, pair: Pair, operation: int, value: int) -> None:
        slot = eon % 5
        token, wallet = self._raw[pair[0]], WALLETS[pair[1]].raw
        self.accumulators[slot] = accumulate(self.accumulators[slot], eon, token, wallet, operation, value)

    def due(self, pair: Pair, eon: int, era: int) -> int:
        """What a confirmation pays by then."""
        newest = self.mature(eon, era)
        return sum(amount for at, amount in self.requests[pair] if at <= newest)

    def _confirm(self, pair: Pair, amount: int, eon: int, era: int) -> None:
        due = self.due(pair, eon, era)
        if amount != due:
            raise BrokenGameError(f"{amount} were paid to {pair}, {due} were due in eon {eon}, era {era}")
        newest = self.mature(eon, era)
        for at, value in self.requests[pair]:
            if at <= newest:
                self.settled[pair][at] += value
        self.requests[pair] = [item for item in self.requests[pair] if item[0] > newest]
        self.paid[pair] += amount

    def _slash(self, pair: Pair, sums: tuple[int, int], eon: int) -> None:
        for at, total in ((eon, sums[1]), (eon - 1, sums[0])):
            if not total:
                continue
            known = sum(amount for when, amount in self.requests[pair] if when == at)
            if known != total:
                raise BrokenGameError(f"{total} of {pair} were cancelled in eon {at}, {known} were requested")
            self.requests[pair] = [item for item in self.requests[pair] if item[0] != at]
            self._accumulate(at, pair, CANCELLATION, total)

    # ---- sums ----

    def pending(self, token: int) -> int:
        """Unpaid requests of everybody."""
        return sum(amount for pair, items in self.requests.items() if pair[0] == token for _, amount in items)

    def requested_at(self, pair: Pair, eon: int) -> int:
        """Unpaid requests of one eon."""
        return sum(amount for at, amount in self.requests[pair] if at == eon)

    def holdings(self, token: int) -> int:
        """Deposits less payments of everybody."""
        came = sum(sum(eons.values()) for pair, eons in self.deposits.items() if pair[0] == token)
        return came - sum(amount for pair, amount in self.paid.items() if pair[0] == token)
