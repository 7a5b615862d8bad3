"""The nginx configuration that operators get, in front of a running production hub."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from websockets.sync.client import connect

from scripts.hub.ports import free_ports
from tests.production import Hub, Services

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx (Debian: nginx-light) is not installed"),
]

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30.0


@dataclass
class Nginx:
    """The proxy, its certificate, and where it listens."""

    certificate: Path
    https: int
    http: int

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https}"

    def session(self, source: str = "127.0.0.1") -> requests.Session:
        """A client with this address."""
        made = requests.Session()
        made.trust_env = False  # a CA bundle that the environment names
        adapter = HTTPAdapter()
        adapter.init_poolmanager(1, 1, source_address=(source, 0))
        made.mount("https://", adapter)
        made.verify = str(self.certificate)
        return made

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with Services() as running:
        yield running


@pytest.fixture(scope="module")
def hub(services: Services) -> Iterator[Hub]:
    extra = {"HUB_SERVER_PROCESSES": "1", "LOG_REQUESTS": "true", "HUB_LIMIT_READS": "5"}
    made = Hub(services.folder, services.variables() | extra)
    try:
        made.done("migrate")
        made.start()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def proxy(hub: Hub, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx as shipped, but for its ports, its certificate and the one host of the hub, which stands there as the
    configuration's own comment says for hosts outside of docker."""
    folder = tmp_path_factory.mktemp("nginx")
    https, http, health = free_ports(3)
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    text = replaced(
        (ROOT / "deploy" / "nginx.conf").read_text(),
        ("server server:8123 resolve max_fails", f"server 127.0.0.1:{services.hub_port} max_fails"),
        ("listen 127.0.0.1:8080", f"listen 127.0.0.1:{health}"),
        ("listen 80 ", f"listen {http} "),
        ("listen 443 ", f"listen {https} "),
        ("server_name hub.example.org", "server_name localhost"),
    )
    file = folder / "nginx.conf"
    file.write_text(text.replace("/etc/nginx/tls", str(folder)))
    run = ["nginx", "-c", str(file), "-p", str(folder), "-g", f"daemon off; pid {folder}/pid;"]
    with (folder / "log").open("wb") as log, subprocess.Popen(run, stderr=log) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while socket.socket().connect_ex(("127.0.0.1", health)) != 0:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield Nginx(certificate, https, http)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def test_requests_keep_their_id_on_the_way(hub: Hub, proxy: Nginx) -> None:
    answer = proxy.session().get(f"{proxy.url}/audit/", headers={"X-Request-ID": "wallet-7/42"}, timeout=30)
    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"] == "wallet-7/42"
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    lines = [json.loads(line) for line in hub.log("server").splitlines() if "wallet-7/42" in line]
    assert ["GET" in line["message"] for line in lines] == [True]


def test_clients_are_told_apart_by_their_own_address(proxy: Nginx) -> None:
    """The hub counts nginx's client, and nobody can be another one by what he sends."""

    def left(source: str, **headers: str) -> int:
        answer = proxy.session(source).get(f"{proxy.url}/audit/", headers=headers, timeout=30)
        assert answer.status_code == 200
        return int(answer.headers["X-RateLimit-Remaining"])

    first = left("127.0.0.2")
    for number in range(20):
        least = left("127.0.0.2", **{"X-Forwarded-For": f"10.0.0.{number}"})
    assert least < first - 5
    assert left("127.0.0.3") == first


def test_websockets_pass(proxy: Nginx) -> None:
    address = f"wss://localhost:{proxy.https}/ws/"
    with connect(address, ssl=proxy.trust(), open_timeout=PATIENCE) as client:
        client.send(json.dumps({"op": "ping"}))
        assert json.loads(client.recv(PATIENCE))


def test_encryption_is_required_and_metrics_stay_inside(proxy: Nginx) -> None:
    moved = requests.get(f"http://localhost:{proxy.http}/audit/?x=1", allow_redirects=False, timeout=30)
    assert (moved.status_code, moved.headers["Location"]) == (308, "https://localhost/audit/?x=1")
    assert proxy.session().get(f"{proxy.url}/metrics", timeout=30).status_code == 403
    trust = proxy.trust()
    trust.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("localhost", proxy.https)) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.selected_alpn_protocol() == "h2"


def test_a_rolling_restart_behind_nginx_fails_no_request(hub: Hub, proxy: Nginx) -> None:
    stop, found = threading.Event(), list[Any]()

    def ask() -> None:
        session = proxy.session("127.0.0.4")
        while not stop.is_set():
            try:
                found.append(session.get(f"{proxy.url}/health/live", timeout=30).status_code)
            except requests.RequestException as error:
                found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        hub.done("restart", "server")
    finally:
        stop.set()
        thread.join()
    assert set(found) == {200}
    assert len(found) > 10
