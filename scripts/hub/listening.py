"""The server's listening sockets, opened and kept open by the supervisor: some for each server process of the host.

On one socket for all, whoever is awake takes most of the connections that come together, and has them for good; the
kernel spreads them over sockets of a port evenly (SO_REUSEPORT). What waits in the queue of a process that is busy,
ends or is gone is taken by the others (`scripts/serve.py`), or by the one that follows: no socket is closed before
all processes have ended.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from scripts.hub.errors import HubError
from scripts.hub.ports import occupied

QUEUE = 2048
"""Connections that may wait in a socket until somebody takes them; the kernel's own limit may be lower."""

Sockets = tuple[socket.socket, ...]


@dataclass(frozen=True)
class Listener:
    """Listening sockets, by server process: one for each address of the host name."""

    sockets: tuple[Sockets, ...]

    def numbers(self, process: int) -> tuple[int, ...]:
        """The numbers, as open files, of the sockets of one process."""
        return tuple(opened.fileno() for opened in self.sockets[process])

    def arguments(self, process: int) -> list[str]:
        """What tells `scripts.serve` which sockets are its own and which are those of others."""
        found = []
        for number in range(len(self.sockets)):
            option = "--fd" if number == process else "--other-fd"
            found += [f"{option}={opened}" for opened in self.numbers(number)]
        return found

    @property
    def all_numbers(self) -> tuple[int, ...]:
        """The numbers of all."""
        return tuple(number for process in range(len(self.sockets)) for number in self.numbers(process))

    def close(self) -> None:
        for sockets in self.sockets:
            _close(sockets)


def open_listener(host: str, port: int, processes: int = 1) -> Listener:
    """Listen on all addresses of `host` for so many processes. Raises HubError."""
    # Sockets that share a port would share it with another hub of this user, too: this one does not, and fails.
    _close(_open(host, port, shared=False))
    return Listener(tuple(_open(host, port, shared=True) for _ in range(processes)))


def _open(host: str, port: int, shared: bool) -> Sockets:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise HubError(f"HUB_HOST={host} is no address of this machine: {error}") from None
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind(address)
            opened.listen(QUEUE)
        except OSError as error:
            _close((*sockets, opened))
            if "in use" in str(error):
                raise HubError(occupied(port, "the hub's HTTP and websocket server", "HUB_PORT")) from None
            raise HubError(f"The hub cannot listen on {host}, port {port}: {error}") from None
        sockets.append(opened)
    return tuple(sockets)


def _close(sockets: Sockets) -> None:
    for opened in sockets:
        opened.close()
