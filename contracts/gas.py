"""Gas report: `python -m contracts.gas`."""

from __future__ import annotations

from collections.abc import Callable

from contracts import gas_scenarios
from contracts.gas_lab import Lab
from contracts.gas_scenarios import Gas

SCENARIOS: tuple[Callable[[Lab, int], Gas], ...] = (
    gas_scenarios.requests,
    gas_scenarios.states,
    gas_scenarios.deliveries,
    gas_scenarios.swaps,
    gas_scenarios.recoveries,
)


def measure(depths: tuple[int, ...]) -> tuple[Gas, dict[int, Gas]]:
    """Gas of operations without a tree, and by depth of those with one."""
    lab = Lab()
    try:
        fixed = gas_scenarios.founding(lab) | gas_scenarios.settling(lab)
        base = lab.snapshot()
        fixed |= gas_scenarios.authorised(lab)
        by_depth: dict[int, Gas] = {}
        for depth in depths:
            by_depth[depth] = {}
            for scenario in SCENARIOS:
                base = lab.revert(base)
                by_depth[depth] |= scenario(lab, depth)
    finally:
        lab.close()
    return fixed, by_depth


if __name__ == "__main__":
    import json

    print(json.dumps(measure((4, 10, 20, 30, 40)), indent=1))
