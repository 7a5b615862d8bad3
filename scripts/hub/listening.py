"""The server's listening sockets, opened by the supervisor and shared by all server processes of the host.

While one process ends and the next begins, connections wait in the sockets' queue. A socket for each process
(SO_REUSEPORT) would not do: what waits in the queue of one that closes is refused.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from scripts.hub.errors import HubError
from scripts.hub.ports import occupied

QUEUE = 2048
"""Connections that may wait until somebody takes them; the kernel's own limit may be lower."""


@dataclass(frozen=True)
class Listener:
    """Listening sockets, one for each address of the host name."""

    sockets: tuple[socket.socket, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The sockets' numbers as open files."""
        return tuple(opened.fileno() for opened in self.sockets)

    def close(self) -> None:
        for opened in self.sockets:
            opened.close()


def open_listener(host: str, port: int) -> Listener:
    """Listen on all addresses of `host`. Raises HubError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise HubError(f"HUB_HOST={host} is no address of this machine: {error}") from None
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind(address)
            opened.listen(QUEUE)
        except OSError as error:
            Listener((*sockets, opened)).close()
            if "in use" in str(error):
                raise HubError(occupied(port, "the hub's HTTP and websocket server", "HUB_PORT")) from None
            raise HubError(f"The hub cannot listen on {host}, port {port}: {error}") from None
        sockets.append(opened)
    return Listener(tuple(sockets))
