"""What can go wrong with the development hub, as sentences for the person at the terminal."""

from __future__ import annotations


class HubError(Exception):
    """Something the reader can mend; the message says what and how."""


class StopRequested(Exception):
    """Ctrl-C, SIGTERM or `./run.sh stop` arrived while something was being waited for."""
