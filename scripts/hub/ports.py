"""TCP ports on the loopback interfaces: whether they are free, and free ones for tests."""

from __future__ import annotations

import errno
import random
import socket
from collections import deque
from collections.abc import Iterable

from scripts.hub import proc
from scripts.hub.config import PORT_VARIABLES, Config
from scripts.hub.errors import HubError

# Below the range from which Linux takes the local ports of outgoing connections.
TEST_PORTS = range(20_000, 32_000)

_chosen: deque[socket.socket] = deque()
KEPT = 64  # ports chosen after one by the same process, by when that one is in use


def _bind_error(family: socket.AddressFamily, address: str, port: int) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0


def loopback_addresses() -> list[str]:
    """The addresses of `localhost` that this machine really has; clients may try either family first."""
    addresses = ["127.0.0.1"]
    try:
        if socket.has_ipv6 and _bind_error(socket.AF_INET6, "::1", 0) == 0:
            addresses.append("::1")
    except OSError:  # a kernel without IPv6
        return addresses
    return addresses


def is_free(port: int) -> bool:
    """Whether nothing listens on the port on any loopback address."""
    for address in loopback_addresses():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if _bind_error(family, address, port) == errno.EADDRINUSE:
            return False
    return True


def check_ports(config: Config) -> None:
    """Raise HubError for the first port that another process holds or that is wanted twice."""
    taken: dict[int, str] = {}
    for what, purpose in config.embedded.items():
        port, variable = config.ports[what], PORT_VARIABLES[what]
        if port in taken:
            raise HubError(
                f"Port {port} is wanted both for {taken[port]} and for {purpose}: set {variable} to another one."
            )
        taken[port] = purpose
        if not is_free(port):
            raise HubError(occupied(port, purpose, variable))
        if port < 1024 and _bind_error(socket.AF_INET, "127.0.0.1", port) == errno.EACCES:
            raise HubError(f"Port {port} ({purpose}) needs privileges: set {variable} to one above 1023.")


def occupied(port: int, purpose: str, variable: str) -> str:
    """The sentence about a port that another process holds."""
    who = proc.listener(port) or "another process (another user's, or outside of this container)"
    return (
        f"Port {port}, wanted for {purpose}, is occupied by {who}: "
        f"end that process, or set {variable} to a free port, e.g. {variable}={free_ports(1)[0]}"
    )


def free_ports(count: int, avoid: Iterable[int] = ()) -> list[int]:
    """Different ports on which nothing listens now, and which no other process has just chosen.

    Raises HubError if there are none.
    """
    avoided = set(avoid)
    chosen: list[int] = []
    for port in random.SystemRandom().sample(TEST_PORTS, len(TEST_PORTS)):
        if len(chosen) == count:
            return chosen
        if port not in avoided and is_free(port) and _claim(port):
            chosen.append(port)
    raise HubError(f"No {count} free ports between {TEST_PORTS.start} and {TEST_PORTS.stop}.")


def _claim(port: int) -> bool:
    """Keep the port from other processes, unless one has claimed it: by an abstract Unix socket, a name that ends
    with its process and is known in the same network namespace as the port."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0nocust-hub-port-{port}")
    except OSError:
        claim.close()
        return False
    _chosen.append(claim)
    while len(_chosen) > KEPT:
        _chosen.popleft().close()
    return True
