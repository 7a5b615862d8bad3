"""What benchmarks do when something goes wrong; what they measure is no test's business."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import telling, transfers
from ledger.models import Outbox
from operator_api.simulation.play import Play


@pytest.mark.django_db
def test_a_run_whose_relay_ends_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    Play().register(1)
    assert Outbox.objects.exists()

    def load(*_: Any) -> dict[str, Any]:
        relay.kill()
        return {"requests": 1}

    monkeypatch.setattr(transfers, "load", load)
    with telling.relay() as relay, pytest.raises(RuntimeError, match="the relay was killed by SIGKILL"):
        transfers.run([], 0, relay, 1)
