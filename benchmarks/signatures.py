"""Signatures recovered and made a second: the physical limit of everything that needs them.

A transfer needs two recoveries (the state and the marker) and one signature (the operator's).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from benchmarks.common import conditions, report
from nocust.signatures import Signer, recover

SECONDS = 1.0
ROUNDS = 3
DISTINCT = 500
"""Different messages, so that nothing is won by remembering."""


def rate(action: Callable[[int], object], threads: int, seconds: float = SECONDS) -> float:
    """Calls a second, by so many threads together."""

    def work(thread: int) -> int:
        calls, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            action(thread + calls)
            calls += 1
        return calls

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        calls = sum(pool.map(work, range(threads)))
        return calls / (time.perf_counter() - began)


def processor_seconds(count: int = 2000) -> dict[str, float]:
    """Processor time of this process for one recovery and for one signature: on a busy machine, too."""
    signer = Signer(secrets.token_bytes(32))
    messages = [secrets.token_bytes(32) for _ in range(count)]
    began = time.process_time()
    signatures = [signer.sign(message) for message in messages]
    signed = time.process_time()
    for message, signature in zip(messages, signatures, strict=True):
        recover(message, signature)
    return {"recovered": (time.process_time() - signed) / count, "signed": (signed - began) / count}


def measure(seconds: float = SECONDS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Medians of the rates, and the transfers a second that they allow."""
    signer = Signer(secrets.token_bytes(32))
    messages = [secrets.token_bytes(32) for _ in range(DISTINCT)]
    signatures = [signer.sign(message) for message in messages]

    def recovery(call: int) -> None:
        recover(messages[call % DISTINCT], signatures[call % DISTINCT])

    def signing(call: int) -> None:
        signer.sign(messages[call % DISTINCT])

    results: dict[str, Any] = {}
    for threads in (1, 2):
        recovered = median(rate(recovery, threads, seconds) for _ in range(rounds))
        signed = median(rate(signing, threads, seconds) for _ in range(rounds))
        results[f"{threads}_threads"] = {
            "recovered_per_second": round(recovered),
            "signed_per_second": round(signed),
            "transfers_per_second_at_most": round(1 / (2 / recovered + 1 / signed)),
        }
    return results


def higher(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Of two measurements, before and after a run, the one with the higher rate for each number of threads: other
    machines on the same host take cores away for seconds, and the limit is what there is without them."""
    return {
        threads: max(one[threads], other[threads], key=lambda rates: float(rates["recovered_per_second"]))
        for threads in one
    }


if __name__ == "__main__":
    report("signatures", conditions(), measure())
