"""Several nodes: which of them to read, and whether they tell the same story.

The first node of HUB_ETHEREUM_NODE_URL is used while it answers and keeps up with the others. One that fails is
left alone for HUB_NODE_RETRY_SECONDS, then tried again, so the hub comes back to the first by itself. Nothing is
repeated inside a step: a step that fails changes nothing, and the next one chooses anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from django.conf import settings

from contractor.alarms import raise_alarm
from contractor.errors import NodeError, NodesDisagreeError
from contractor.headers import Header
from contractor.node import Node

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""The nodes' heights are asked for at most once in this time a process."""


class Nodes:
    """The configured nodes in order of preference. `lag`: blocks that a node may be behind the highest one;
    `retry`: seconds that a failed node is left alone."""

    def __init__(self, nodes: Sequence[Node], lag: int, retry: float) -> None:
        self.all = tuple(nodes)
        self.usable: tuple[Node, ...] = self.all
        self._lag, self._retry = lag, retry
        self._polled = float("-inf")
        self._threads = ThreadPoolExecutor(max_workers=len(nodes), thread_name_prefix="node")

    def best(self) -> Node:
        """The first node that answers and keeps up. Raises nothing: where none does, its user finds out."""
        if len(self.all) == 1:
            return self.all[0]
        if time.monotonic() - self._polled >= POLL_SECONDS or self._rests(self.usable[0]):
            self._choose()
        return self.usable[0]

    def _rests(self, node: Node) -> bool:
        return node.failed_at is not None and time.monotonic() - node.failed_at < self._retry

    def _choose(self) -> None:
        before = self.usable[0]
        heights = self._heights([node for node in self.all if not self._rests(node)])
        self._polled = time.monotonic()
        for node in filter(self._rests, self.all):
            _tell_failure(node)
        if not heights:
            # Nobody answers. The one that failed longest ago is as good as any.
            self.usable = tuple(sorted(self.all, key=lambda node: node.failed_at or 0.0))
            return
        highest = max(heights.values())
        for node, height in heights.items():
            if highest - height > self._lag:
                raise_alarm(
                    "node behind",
                    f"{node.name} is more than {self._lag} blocks behind another one and is passed over",
                )
        self.usable = tuple(
            node for node in self.all if node in heights and highest - heights[node] <= self._lag
        )
        if self.usable[0] is not before:
            logger.warning("the chain is read from %s, no longer from %s", self.usable[0].name, before.name)

    def _heights(self, nodes: Sequence[Node]) -> Mapping[Node, int]:
        """The numbers of the newest blocks of the nodes that answer, all asked at the same time."""
        found: dict[Node, int] = {}
        for node, answer in [(node, self._threads.submit(node.height)) for node in nodes]:
            try:
                found[node] = answer.result()
            except NodeError as error:
                node.note_failure(error)
        return found

    def others(self, chosen: Node) -> list[Node]:
        """The usable nodes beside the chosen one."""
        return [node for node in self.usable if node is not chosen and not self._rests(node)]

    def agree(self, chosen: Node, head: Header, depth: int) -> bool:
        """Whether every other usable node has `head`, or the chosen node has theirs. False while they are on
        branches that differ by up to `depth` blocks, which passes by itself.

        Raises NodesDisagreeError when they differ deeper, NodeError when the chosen node does not answer.
        """
        united = True
        for other in self.others(chosen):
            try:
                theirs = other.head()
                common = min(head.number, theirs.number)
                theirs = _at(other, theirs, common)
                deep = _at(other, theirs, max(common - depth, 0))
            except NodeError as error:
                other.note_failure(error)
                _tell_failure(other)
                continue
            ours = _at(chosen, head, common)
            if ours.hash == theirs.hash:
                continue
            if _at(chosen, ours, deep.number).hash != deep.hash:
                raise NodesDisagreeError(
                    f"block {deep.number} of {chosen.name} is not that of {other.name}, {depth} blocks below"
                    " the newest one both have"
                )
            united = False
        return united

    def close(self) -> None:
        """End the threads that ask for heights."""
        self._threads.shutdown(wait=False)


def _tell_failure(node: Node) -> None:
    raise_alarm("node failed", f"{node.name} is left alone for a while: {node.failure}", key=node.name)


def _at(node: Node, known: Header, number: int) -> Header:
    return known if known.number == number else node.headers(number, number)[0]


@cache
def nodes() -> Nodes:
    """The configured nodes."""
    urls = settings.HUB_ETHEREUM_NODE_URL.split(",")
    made = [
        Node(
            url.strip(),
            settings.HUB_LQD_CONTRACT_ADDRESS,
            settings.HUB_ETHEREUM_NETWORK_IS_POA,
            settings.HUB_NODE_TIMEOUT_SECONDS,
        )
        for url in urls
        if url.strip()
    ]
    return Nodes(made, settings.HUB_NODE_LAG_BLOCKS, settings.HUB_NODE_RETRY_SECONDS)
