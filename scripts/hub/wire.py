"""Small HTTP and JSON-RPC calls with the standard library alone."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from scripts.hub.errors import HubError

FAILURES = (OSError, http.client.HTTPException)


def _connection(url: str, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise HubError(f"{url!r} is not an http or https address.")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return kind(parts.hostname, parts.port, timeout=timeout), path


def status(url: str, timeout: float = 5.0) -> int:
    """The HTTP status of a GET, 0 if nothing answered."""
    connection, path = _connection(url, timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    except FAILURES:
        return 0
    finally:
        connection.close()


def rpc(url: str, method: str, *params: object, timeout: float = 10.0) -> Any:
    """The result of an Ethereum JSON-RPC call. Raises one of FAILURES if nothing answers, HubError if refused."""
    connection, path = _connection(url, timeout)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    try:
        answer = json.loads(text)
        if "error" in answer:
            raise HubError(f"{method}: {answer['error'].get('message', answer['error'])}")
        return answer["result"]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise HubError(f"{method}: HTTP {response.status}, and not the answer of an Ethereum node") from None
