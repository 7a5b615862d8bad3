"""Reading settings from the environment, each with its type; all problems are reported at once.

Each name that is read is remembered with its kind and default, so that `docs/configuration.md` can be compared with
the code and `./run.sh prod` knows which names of a file are misspelt.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from nocust.addresses import to_checksum
from nocust.errors import NocustError

T = TypeVar("T")

DATABASE_OPTIONS = frozenset(
    {"sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs", "application_name"}
)
"""What may follow the question mark of DATABASE_URL; libpq's names."""


class EnvironmentProblems(ImproperlyConfigured):
    """What is wrong with the environment: a sentence for each variable, and the names that are read at all."""

    def __init__(self, problems: list[str], names: Iterable[str]) -> None:
        super().__init__("The environment is not right:\n  " + "\n  ".join(problems))
        self.problems = problems
        self.names = sorted(names)


@dataclass(frozen=True, slots=True)
class Variable:
    """A name that is read: its kind, as the documentation calls it, and its default as one would write it."""

    kind: str
    default: str


class Environment:
    """Typed access to environment variables. `check()` raises ImproperlyConfigured naming every bad one."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.variables: dict[str, Variable] = {}

    def read(
        self, name: str, default: T, convert: Callable[[str], T], kind: str = "", shown: str | None = None
    ) -> T:
        """The converted value of `name`, or the default when it is unset or empty. `kind` is what the
        documentation calls its type, `shown` the default as one would write it where that differs."""
        self.variables[name] = Variable(kind or _kind(default), written(default) if shown is None else shown)
        text = os.environ.get(name, "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except (ValueError, KeyError, NocustError) as error:
            self.problems.append(f"{name}: {error}")
            return default

    def text(self, name: str, default: str = "", kind: str = "text") -> str:
        return self.read(name, default, str, kind)

    def choice(self, name: str, default: str, choices: Iterable[str]) -> str:
        """One of a few words, in any case; given back as it is in `choices`."""
        known = list(choices)

        def convert(text: str) -> str:
            for word in known:
                if word.lower() == text.lower():
                    return word
            raise ValueError(f"must be one of {', '.join(known)}, is {text!r}")

        return self.read(name, default, convert)

    def integer(self, name: str, default: int, minimum: int = 0) -> int:
        def convert(text: str) -> int:
            try:
                value = int(text)
            except ValueError:
                raise ValueError(f"must be a whole number, is {text!r}") from None
            if value < minimum:
                raise ValueError(f"must be at least {minimum}, is {value}")
            return value

        return self.read(name, default, convert)

    def boolean(self, name: str, default: bool = False) -> bool:
        def convert(text: str) -> bool:
            if text.lower() in {"1", "true", "yes", "on"}:
                return True
            if text.lower() in {"0", "false", "no", "off"}:
                return False
            raise ValueError(f"must be true or false, is {text!r}")

        return self.read(name, default, convert)

    def items(self, name: str, default: list[str]) -> list[str]:
        return self.read(
            name, default, lambda text: [item.strip() for item in text.split(",") if item.strip()]
        )

    def require(self, name: str, reason: str) -> None:
        """Note a problem unless `name` is set."""
        if not os.environ.get(name, "").strip():
            self.problems.append(f"{name}: not set; {reason}")

    def check(self) -> None:
        """Raise EnvironmentProblems that names every problem found so far."""
        if self.problems:
            raise EnvironmentProblems(self.problems, self.variables)


def _kind(default: object) -> str:
    kinds = {bool: "boolean", int: "integer", list: "list", bytes: "address"}
    return kinds.get(type(default), "text")


def written(value: object) -> str:
    """A default as one would write it into the environment; empty if there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return to_checksum(value) if len(value) == 20 else ""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def url_of(*schemes: str) -> Callable[[str], str]:
    """A conversion that takes URLs of these schemes with a host."""

    def convert(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.hostname or parts.port == 0:
            starts = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"must be a URL that starts with {starts} and names a host")
        return text

    return convert


def redis_server(text: str) -> str:
    """The URL of a Redis server, without the number of a database. Raises ValueError."""
    url = url_of("redis", "rediss")(text.rstrip("/"))
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query:
        raise ValueError(
            "must end with the port (redis://host:6379): databases 1 to 3 of the server are used"
        )
    return url


def path_of_words(text: str) -> str:
    """A path of words, without slashes around it. Raises ValueError."""
    path = text.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", path):
        raise ValueError("must be words of letters, digits, - and _, separated by /")
    return path


def node_urls(text: str) -> str:
    """One or more http:// or https:// URLs, separated by commas. Raises ValueError."""
    for url in text.split(","):
        if not url.strip().startswith(("http://", "https://")):
            raise ValueError("must be one or more http:// or https:// URLs, separated by commas")
    return text


def hexadecimal(digits: int) -> Callable[[str], str]:
    """A conversion that takes so many hexadecimal digits."""

    def convert(text: str) -> str:
        if len(text) != digits or not set(text) <= set("0123456789abcdefABCDEF"):
            raise ValueError(f"must be {digits} hexadecimal digits")
        return text

    return convert


def database_from_url(url: str) -> dict[str, object]:
    """Django's database settings from `postgresql://user:password@host:port/name?sslmode=...`. Raises ValueError
    for anything else."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise ValueError("must look like postgresql://user:password@host:port/name")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - DATABASE_OPTIONS):
        raise ValueError(f"has options that are not known: {', '.join(unknown)}")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or 5432),
        "OPTIONS": options,
    }
