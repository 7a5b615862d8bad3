"""Reading settings from the environment, each with its type; all problems are reported at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from nocust.errors import NocustError

T = TypeVar("T")


class Environment:
    """Typed access to environment variables. `check()` raises ImproperlyConfigured naming every bad one."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, name: str, default: T, convert: Callable[[str], T]) -> T:
        """The converted value of `name`, or the default when it is unset or empty."""
        text = os.environ.get(name, "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except (ValueError, KeyError, NocustError) as error:
            self.problems.append(f"{name}: {error}")
            return default

    def text(self, name: str, default: str = "") -> str:
        return self.read(name, default, str)

    def integer(self, name: str, default: int, minimum: int = 0) -> int:
        def convert(text: str) -> int:
            value = int(text)
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
        """Raise ImproperlyConfigured that names every problem found so far."""
        if self.problems:
            raise ImproperlyConfigured("The environment is not right:\n  " + "\n  ".join(self.problems))


def database_from_url(url: str) -> dict[str, object]:
    """Django's database settings from `postgresql://user:password@host:port/name`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise ValueError("must look like postgresql://user:password@host:port/name")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or 5432),
    }
