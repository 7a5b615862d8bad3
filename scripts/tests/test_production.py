"""`./run.sh prod`: what it reads, what it refuses, and how its server processes share connections."""

from __future__ import annotations

import http.client
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
import pytest

from scripts.hub import dotenv, environment, instance, production
from scripts.hub.config import ROOT, base_environment
from scripts.hub.errors import HubError
from scripts.hub.listening import open_listener
from scripts.hub.ports import free_ports
from scripts.tests.helpers import eventually

KEY = "11" * 32
ADDRESS = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"  # that of KEY
OTHER = "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1"
GOOD = {
    "SECRET_KEY": "kJ8s0vQ3xZ1nB6tY4wR7uM2pL9cF5hD0aG8eK3iV6oX1qN4z",
    "ALLOWED_HOSTS": "hub.example.org",
    "SERVER_NAME": "a hub",
    "DATABASE_URL": "postgresql://hub:secret-of-the-database@127.0.0.1:1/hub?sslmode=disable",
    "REDIS_URL": "redis://127.0.0.1:1",
    "HUB_ETHEREUM_NODE_URL": "http://127.0.0.1:1",
    "HUB_OWNER_ACCOUNT_ADDRESS": ADDRESS,
    "HUB_OWNER_ACCOUNT_KEY": KEY,
    "HUB_LQD_CONTRACT_ADDRESS": OTHER,
    "SLA_TOKEN_ADDRESS": OTHER,
}


def prod(tmp_path: Path, *arguments: str, text: str = "", **file: str) -> subprocess.CompletedProcess[str]:
    """One command of `./run.sh prod` with this `.env`."""
    path = tmp_path / "hub.env"
    path.write_text(text or "".join(f"{name}={value}\n" for name, value in file.items()))
    return subprocess.run(
        [str(ROOT / "run.sh"), "prod", *arguments],
        env=base_environment() | {"HUB_ENV_FILE": str(path), "HUB_DATA": str(tmp_path / "data")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def problems(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What it refused to start for: one sentence a line, and no traceback."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert "File " not in done.stderr
    # run.sh may say first that it installs something, or waits for another one that does.
    before, said, after = done.stderr.partition("run.sh: The environment is not right")
    assert said, before
    count, *lines = after.splitlines()
    assert count == f" ({len(lines)} found):"
    return [line.strip() for line in lines]


def test_an_empty_environment_is_refused_with_all_that_is_missing(tmp_path: Path) -> None:
    named = {line.split(":")[0] for line in problems(prod(tmp_path, text="\n"))}
    assert named == {
        *(set(GOOD) - {"HUB_OWNER_ACCOUNT_KEY"}),
        "HUB_OWNER_ACCOUNT_KEYSTORE",  # or another way to have the key
    }


def test_everything_wrong_is_named_at_once_and_no_secret_is_shown(tmp_path: Path) -> None:
    bad = GOOD | {
        "SECRET_KEY": "secret",
        "ALLOWED_HOSTS": "*",
        "DATABASE_URL": "mysql://hub:hush@db/hub",
        "REDIS_URL": "redis://:hush@127.0.0.1:6379/4",
        "CELERY_BROKER_URL": "kafka://127.0.0.1",
        "HUB_ETHEREUM_NODE_URL": "ws://127.0.0.1:8546",
        "HUB_ETHEREUM_NETWORK_IS_POA": "perhaps",
        "HUB_LQD_CONTRACT_ADDRESS": "0x1234",
        "HUB_LQD_CONTRACT_CONFIRMATIONS": "three",
        "HUB_OWNER_ACCOUNT_KEY": "hush" * 16,
        "TOS_URL": "ftp://example.org",
        "LOG_LEVEL": "LOUD",
        "HUB_SERVER_PROCESSES": "0",
        "HUB_CONFIRMATIONS": "3",
        "SERVER_NAMES": "a, b",
        "RUNNING_IN_PRODUCTION": "false",
    }
    lines = problems(prod(tmp_path, "check", **bad))
    named = {line.split(":")[0] for line in lines}
    same = {"HUB_OWNER_ACCOUNT_ADDRESS", "SERVER_NAME", "SLA_TOKEN_ADDRESS"}
    # A key that cannot be read is none, which is a problem of its own.
    assert named == (set(bad) - same) | {"HUB_OWNER_ACCOUNT_KEYSTORE"}
    assert "SERVER_NAMES: is not a setting; did you mean SERVER_NAME?" in lines
    assert "hush" not in "\n".join(lines)
    assert "secret" not in "\n".join(lines)


def test_the_development_key_is_refused(tmp_path: Path) -> None:
    public = "0x4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d"
    bad = GOOD | {"HUB_OWNER_ACCOUNT_ADDRESS": OTHER, "HUB_OWNER_ACCOUNT_KEY": public}
    lines = problems(prod(tmp_path, "server", **bad))
    assert "HUB_OWNER_ACCOUNT_KEY: is the development key, which everybody knows" in lines


def test_a_key_of_another_account_and_a_wrong_keystore_are_refused(tmp_path: Path) -> None:
    (line,) = problems(prod(tmp_path, "check", **GOOD | {"HUB_OWNER_ACCOUNT_ADDRESS": OTHER}))
    assert line == "HUB_OWNER_ACCOUNT_KEY: is not the key of HUB_OWNER_ACCOUNT_ADDRESS"
    file, password = tmp_path / "key.json", tmp_path / "password"
    file.write_text("{}")
    password.write_text("no")
    bad = {name: value for name, value in GOOD.items() if name != "HUB_OWNER_ACCOUNT_KEY"}
    bad |= {
        "HUB_OWNER_ACCOUNT_KEYSTORE": str(file),
        "HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE": str(password),
    }
    (line,) = problems(prod(tmp_path, "check", **bad))
    assert line.startswith(f"HUB_OWNER_ACCOUNT_KEYSTORE {file}: ")


def test_missing_key_files_are_named_with_all_else(tmp_path: Path) -> None:
    bad = {name: value for name, value in GOOD.items() if name != "HUB_OWNER_ACCOUNT_KEY"}
    files = {
        "HUB_OWNER_ACCOUNT_KEYSTORE": str(tmp_path / "key.json"),
        "HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE": str(tmp_path / "password"),
    }
    named = {line.split(":")[0] for line in problems(prod(tmp_path, **bad | files | {"LOG_LEVEL": "LOUD"}))}
    assert named == {"LOG_LEVEL", *files}


def test_servers_that_do_not_answer_are_all_named_without_passwords(tmp_path: Path) -> None:
    done = prod(tmp_path, "check", **GOOD | {"CELERY_BROKER_URL": "amqp://hub:hush@127.0.0.1:1/hub"})
    named = [line.split(":")[0] for line in problems(done)]
    assert named == ["DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "HUB_ETHEREUM_NODE_URL"]
    assert "hush" not in done.stderr
    assert "secret-of-the-database" not in done.stderr


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.env"
    path.write_text("".join(f"{name}='{value}'\n" for name, value in GOOD.items()) + "HUB_PORT=7001\n")
    kept = base_environment() | {"HUB_ENV_FILE": str(path)}
    assert environment.load(live=False, environ=kept).port == 7001
    production = environment.load(live=False, environ=kept | {"HUB_PORT": "7002", "LOG_LEVEL": "DEBUG"})
    assert production.port == 7002
    assert production.environment["LOG_LEVEL"] == "DEBUG"
    assert production.environment["RUNNING_IN_PRODUCTION"] == "true"


def test_an_unknown_command_and_a_missing_file_are_sentences(tmp_path: Path) -> None:
    done = prod(tmp_path, "begin", text="\n")
    assert done.returncode == 1
    assert "There is no command 'begin'." in done.stderr
    with pytest.raises(HubError, match="No such file"):
        environment.load(live=False, environ=base_environment() | {"HUB_ENV_FILE": str(tmp_path / "none")})


def test_the_file_takes_what_the_documentation_says() -> None:
    text = "# comment\n\nA_A=1 # one\nexport B_B='two # two'\nC_C=\"a=b\"  # c\nD_D=\nE_E=x#y\n"
    assert dotenv.parse(text) == (
        {"A_A": "1", "B_B": "two # two", "C_C": "a=b", "D_D": "", "E_E": "x#y"},
        [],
    )
    _, wrong = dotenv.parse("A_A=1\nnonsense\nA_A=2\nB_B='open\n")
    assert wrong == [
        "line 2: is not NAME=value",
        "line 3: A_A is set a second time",
        "line 4: the quotes around B_B's value are not closed",
    ]


def test_an_occupied_port_is_refused_with_who_has_it() -> None:
    (port,) = free_ports(1)
    held = open_listener("127.0.0.1", port)
    try:
        with pytest.raises(HubError, match="HUB_PORT"):
            open_listener("127.0.0.1", port)
    finally:
        held.close()
    open_listener("localhost", port).close()


@pytest.mark.parametrize(("drain", "seconds"), [("", 185), ("600", 780), ("spoilt", 180)])
def test_who_ends_the_hub_waits_for_clients_that_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drain: str, seconds: float
) -> None:
    asked: list[tuple[Path, float]] = []

    def stop(folder: Path, longest: float) -> bool:
        asked.append((folder, longest))
        return True

    monkeypatch.setattr(instance, "stop", stop)
    monkeypatch.setenv("HUB_DATA", str(tmp_path))
    monkeypatch.setenv("HUB_DRAIN_SECONDS", drain)
    assert production.stop([]) == 0
    assert asked == [(tmp_path, seconds)]


SERVE = """
import asyncio, sys
from pathlib import Path
from scripts import serve
async def application(scope, receive, send):
    if scope["path"].startswith("/slow/"):
        Path(scope["path"].removeprefix("/slow")).touch()
        await asyncio.sleep(1.5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
serve.load = lambda: (application, "httptools")
serve.main()
"""


def serve_alone(arguments: list[str], ready: Path, numbers: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """A server process of the application above, with the open files of these numbers."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, *arguments, "--ready-file", str(ready)],
        cwd=ROOT,
        env=base_environment() | {"HUB_DRAIN_SECONDS": "30"},
        pass_fds=numbers,
    )


def is_ready(process: subprocess.Popen[bytes], ready: Path) -> bool:
    """Whether this process wrote its number into its file: the file is there, and empty, a moment before."""
    return ready.exists() and ready.read_text() == str(process.pid)


def test_a_server_that_ends_answers_what_is_under_way_and_lets_its_clients_go(tmp_path: Path) -> None:
    """On one kept connection: a request that is under way at SIGTERM is answered, with `connection: close`."""
    (port,) = free_ports(1)
    listener = open_listener("127.0.0.1", port)
    ready = tmp_path / "ready"
    process = serve_alone(listener.arguments(0), ready, listener.all_numbers)
    try:
        assert eventually(lambda: is_ready(process, ready), 30)
        busy, idle = (http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(2))
        idle.request("GET", "/")
        answer = idle.getresponse()
        assert (answer.read(), answer.getheader("connection")) == (b"ok", None)
        begun = tmp_path / "begun"
        busy.request("GET", f"/slow{begun}")
        assert eventually(begun.exists)
        process.terminate()
        answer = busy.getresponse()
        assert (answer.read(), answer.getheader("connection")) == (b"ok", "close")
        idle.request("GET", "/")  # it was told nothing yet, and is served on the old connection
        answer = idle.getresponse()
        assert (answer.read(), answer.getheader("connection")) == (b"ok", "close")
        assert process.wait(10) in {0, -15}  # long before the 30 seconds: nobody is left
    finally:
        process.kill()
        process.wait()
        listener.close()


def test_the_kernel_spreads_connections_over_the_processes() -> None:
    (port,) = free_ports(1)
    with closing(open_listener("127.0.0.1", port, 2)) as listener, ExitStack() as opened:
        for _ in range(200):
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        taken = [0, 0]
        for number, (waited_on,) in enumerate(listener.sockets):
            waited_on.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    opened.enter_context(waited_on.accept()[0])
                    taken[number] += 1
        assert sum(taken) == 200
        assert min(taken) >= 50  # by chance it is fewer once in 10^12 times
        with pytest.raises(HubError, match="occupied"):
            open_listener("127.0.0.1", port, 2)


@contextmanager
def sharing(folder: Path, processes: int) -> Iterator[tuple[int, list[subprocess.Popen[bytes]]]]:
    """A port, and so many server processes that share it."""
    (port,) = free_ports(1)
    with closing(open_listener("127.0.0.1", port, processes)) as listener, ExitStack() as ends:
        servers = []
        for number in range(processes):
            server = serve_alone(listener.arguments(number), folder / str(number), listener.all_numbers)
            ends.callback(server.wait)
            ends.callback(server.kill)
            servers.append(server)
        assert eventually(lambda: all(is_ready(each, folder / str(n)) for n, each in enumerate(servers)), 60)
        yield port, servers


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop a server process where it is; it takes no connection after this."""
    server.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)


def ask(port: int, number: int) -> list[http.client.HTTPConnection]:
    """Clients that have connected and sent a request each."""
    clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(number)]
    for client in clients:
        client.request("GET", "/")
    return clients


def check_answers(clients: list[http.client.HTTPConnection]) -> None:
    """Every client gets its answer."""
    assert [client.getresponse().read() for client in clients] == len(clients) * [b"ok"]
    for client in clients:
        client.close()


def test_what_waits_for_a_server_that_is_gone_is_taken_by_another(tmp_path: Path) -> None:
    with sharing(tmp_path, 2) as (port, servers):
        servers[0].kill()
        servers[0].wait()
        check_answers(ask(port, 40))
        servers[1].terminate()
        assert servers[1].wait(10) in {0, -15}


def test_what_waits_when_a_server_is_killed_is_taken_by_the_others(tmp_path: Path) -> None:
    with sharing(tmp_path, 3) as (port, servers):
        for server in servers:
            stop(server)
        clients = ask(port, 60)
        servers[0].kill()
        servers[0].wait()
        for server in servers[1:]:
            server.send_signal(signal.SIGCONT)
        check_answers(clients)


def test_what_waits_for_a_server_that_hangs_is_taken_and_it_goes_on_without(tmp_path: Path) -> None:
    """Two others are after the same connections, and the one that hung finds nothing when it wakes."""
    with sharing(tmp_path, 3) as (port, servers):
        stop(servers[0])
        check_answers(ask(port, 60))
        servers[0].send_signal(signal.SIGCONT)
        for server in servers[1:]:
            server.kill()
            server.wait()
        check_answers(ask(port, 60))


@contextmanager
def helping(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A port that nobody serves, and a server process of another port that takes what waits there."""
    with ExitStack() as ends:
        own, other = (ends.enter_context(closing(open_listener("127.0.0.1", port))) for port in free_ports(2))
        arguments = [f"--fd={own.all_numbers[0]}", f"--other-fd={other.all_numbers[0]}"]
        server = serve_alone(arguments, folder / "ready", own.all_numbers + other.all_numbers)
        ends.callback(server.wait)
        ends.callback(server.kill)
        assert eventually(lambda: is_ready(server, folder / "ready"), 60)
        yield other.sockets[0][0].getsockname()[1], server


def test_clients_that_leave_while_they_wait_are_no_harm_to_those_behind_them(tmp_path: Path) -> None:
    with helping(tmp_path) as (port, server):
        stop(server)
        for linger in (struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)):  # a reset, and an orderly end
            for _ in range(5):
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        clients = ask(port, 5)
        server.send_signal(signal.SIGCONT)
        check_answers(clients)


def test_a_server_that_may_open_no_more_files_takes_what_waits_later(tmp_path: Path) -> None:
    with helping(tmp_path) as (port, server):
        check_answers(ask(port, 1))
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        opened = set(map(int, os.listdir(f"/proc/{server.pid}/fd")))
        least = next(number for number in count() if number not in opened)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (least, limits[1]))
        clients = ask(port, 5)
        woken = psutil.Process(server.pid).num_ctx_switches().voluntary + 20
        assert eventually(lambda: psutil.Process(server.pid).num_ctx_switches().voluntary > woken, 60)
        assert not select.select([client.sock for client in clients[1:]], [], [], 0)[0]
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        check_answers(clients)
