"""The hub's six processes, each by its own start script."""

from __future__ import annotations

import signal

from scripts.hub.child import Program
from scripts.hub.config import ROOT

SCRIPTS = {
    "server": "runserver.sh",
    "scheduler": "celerybeat.sh",
    "accounting": "celeryworker_accounting.sh",
    "audit": "celeryworker_audit.sh",
    "chain": "celeryworker_chain.sh",
    "verifier": "celeryworker_verifier.sh",
}


def programs(environment: dict[str, str]) -> list[Program]:
    """All six. If the supervisor is killed they are killed at once: they may not wait for a broker that is gone,
    and everything they do can be done again."""
    return [
        Program(
            name,
            ["bash", str(ROOT / "scripts" / script)],
            environment,
            death_signal=signal.SIGKILL,
            stop_seconds=6.0,
        )
        for name, script in SCRIPTS.items()
    ]
