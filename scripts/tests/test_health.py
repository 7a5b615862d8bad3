"""The health check of a container."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from scripts import health
from scripts.hub.ports import free_ports


class Halted(BaseHTTPRequestHandler):
    """A server of a hub whose chain is halted."""

    def do_GET(self) -> None:
        self.send_response({"/health/live": 200, "/health/ready": 503}.get(self.path, 404))
        self.end_headers()


@pytest.fixture
def halted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), Halted)
    monkeypatch.setenv("HUB_PORT", str(server.server_port))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("halted")
def test_a_server_is_well_while_the_chain_is_halted() -> None:
    assert health.server() == ""


def test_a_server_that_is_away_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("HUB_PORT", str(port))
    assert "refused" in health.server()
