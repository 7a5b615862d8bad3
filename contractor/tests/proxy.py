"""A node that lies, lags and fails: it stands between the hub and a real one and spoils the answers it is told to.

A fault is a function of a request (method, parameters) and the honest answer; it gives the answer to send, or
raises `Silence`, `Dripping`, `Refused` or `Broken`.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from threading import Event, Thread
from typing import Any

import requests

Answer = Any
Fault = Callable[[str, list[Any], Answer], Answer]


class Silence(Exception):
    """The node does not answer at all: the connection hangs until the caller gives up."""


class Broken(Exception):
    """Something that is not JSON-RPC, with this HTTP status and body."""

    def __init__(self, status: int = 500, body: bytes = b"<html>Bad Gateway</html>") -> None:
        super().__init__(status, body)
        self.status, self.body = status, body


class Dripping(Exception):
    """The answer comes byte by byte and has no end: its headers, or what follows them."""

    def __init__(self, headers: bool) -> None:
        super().__init__(headers)
        self.begin = b"HTTP/1.1 200 OK\r\n" + (b"X-Drop: " if headers else b"Content-Length: 9999\r\n\r\n")


class Refused(Exception):
    """A JSON-RPC error."""


class Proxy:
    """A JSON-RPC server in front of the node at `target`, on a free port. `asked` counts questions by method,
    `requests` what came with one or several of them."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.fault: Fault | None = None
        self.asked: dict[str, int] = {}
        self.requests = 0
        self._over = Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    status, answer = 200, proxy.answer(body)
                except Silence:
                    proxy._over.wait(30)
                    self.close_connection = True
                    return
                except Dripping as error:
                    proxy.drip(self.wfile, error.begin)
                    self.close_connection = True
                    return
                except Broken as error:
                    status, answer = error.status, error.body
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self._session = requests.Session()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._session.close()

    def drip(self, to: BufferedIOBase, begin: bytes) -> None:
        """Write byte by byte until the caller gives up, ten seconds at most."""
        with contextlib.suppress(OSError):
            to.write(begin)
            for _ in range(100):
                to.write(b" ")
                if self._over.wait(0.1):
                    break

    def answer(self, body: bytes) -> bytes:
        """The answer to one request, or to several in a list."""
        self.requests += 1
        asked = json.loads(body)
        answers = json.loads(self._session.post(self.target, data=body, headers=JSON, timeout=30).content)
        if isinstance(asked, dict):
            return json.dumps(self._spoil(asked, answers)).encode()
        by_id = {answer["id"]: answer for answer in answers}
        return json.dumps([self._spoil(one, by_id[one["id"]]) for one in asked]).encode()

    def _spoil(self, asked: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        self.asked[asked["method"]] = self.asked.get(asked["method"], 0) + 1
        if self.fault is None or "error" in answer:
            return answer
        try:
            result = self.fault(asked["method"], asked["params"], answer["result"])
        except Refused as error:
            return {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32005, "message": str(error)}}
        return {**answer, "result": result}

    def ask(self, method: str, *parameters: object) -> Any:
        """An honest answer."""
        question: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        return self._session.post(self.target, json=question, timeout=30).json()["result"]


JSON = {"Content-Type": "application/json"}


# ---- faults -----------------------------------------------------------------------------------------------------


def only(method: str, fault: Fault) -> Fault:
    """The fault for one method alone."""
    return lambda asked, parameters, answer: fault(asked, parameters, answer) if asked == method else answer


def silent(*_: Any) -> Answer:
    raise Silence


def dripping(*_: Any) -> Answer:
    raise Dripping(headers=False)


def dripping_headers(*_: Any) -> Answer:
    raise Dripping(headers=True)


def broken(*_: Any) -> Answer:
    raise Broken


def refusing(*_: Any) -> Answer:
    raise Refused("the daily request count is exceeded")


def half_a_range(method: str, parameters: list[Any], answer: Answer) -> Answer:
    """Of the logs of a range only the older half: the node has not read in the newest blocks."""
    ranged = method == "eth_getLogs" and "blockHash" not in parameters[0]
    return answer[: len(answer) // 2] if ranged else answer


def duplicates(method: str, parameters: list[Any], answer: Answer) -> Answer:
    return [*answer, *answer] if method == "eth_getLogs" else answer


def swapped(method: str, parameters: list[Any], answer: Answer) -> Answer:
    """Logs in the wrong order."""
    return answer[::-1] if method == "eth_getLogs" else answer


def removed(method: str, parameters: list[Any], answer: Answer) -> Answer:
    """With logs of a branch that is none any more, marked as such."""
    if method != "eth_getLogs":
        return answer
    return [*answer, *({**log, "removed": True, "blockHash": "0x" + "77" * 32} for log in answer)]


def at_most(blocks: int) -> Fault:
    """A node that gives logs of so many blocks at once."""

    def fault(method: str, parameters: list[Any], answer: Answer) -> Answer:
        if method == "eth_getLogs" and "fromBlock" in parameters[0]:
            first, last = (int(parameters[0][name], 16) for name in ("fromBlock", "toBlock"))
            if last - first + 1 > blocks:
                raise Refused(f"query exceeds the limit of {blocks} blocks")
        return answer

    return fault


def stale(proxy: Proxy, blocks: int) -> Fault:
    """A node whose newest block is the one that was, so many blocks ago."""

    def fault(method: str, parameters: list[Any], answer: Answer) -> Answer:
        height = int(proxy.ask("eth_blockNumber"), 16) - blocks
        if method == "eth_blockNumber":
            return hex(height)
        if method == "eth_getBlockByNumber":
            if parameters[0] == "latest":
                return proxy.ask("eth_getBlockByNumber", hex(height), False)
            return answer if int(parameters[0], 16) <= height else None
        return answer

    return fault


def lying(method: str, parameters: list[Any], answer: Answer) -> Answer:
    """A chain of other blocks: each hash is another one, and they follow each other."""
    if method != "eth_getBlockByNumber" or answer is None:
        return answer
    return {**answer, "hash": other(answer["hash"]), "parentHash": other(answer["parentHash"])}


def forked(height: int) -> Fault:
    """As `lying`, from block `height` on."""

    def fault(method: str, parameters: list[Any], answer: Answer) -> Answer:
        if method != "eth_getBlockByNumber" or answer is None or int(answer["number"], 16) < height:
            return answer
        spoilt = {**answer, "hash": other(answer["hash"])}
        if int(answer["number"], 16) > height:
            spoilt["parentHash"] = other(answer["parentHash"])
        return spoilt

    return fault


def other(block_hash: str) -> str:
    return "0x" + "".join("fedcba9876543210"[int(digit, 16)] for digit in block_hash[2:])


def any_of(seed: int, share: float, *faults: Fault) -> Fault:
    """One of the faults at random, in a share of the requests."""
    dice = random.Random(seed)

    def fault(method: str, parameters: list[Any], answer: Answer) -> Answer:
        if dice.random() >= share:
            return answer
        return dice.choice(faults)(method, parameters, answer)

    return fault
