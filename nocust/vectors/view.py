"""Access to a file of vectors that records what was read and what was compared."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nocust.addresses import ADDRESS_LENGTH, parse_address
from nocust.encoding import hex_to_bytes
from nocust.errors import NocustError

Scalar = str | int | bool | None
Json = Scalar | float | list["Json"] | dict[str, "Json"]


class MismatchError(Exception):
    """A value of the file differs from the one computed, or has a form that nothing can be computed from."""

    def __init__(self, path: str, expected: object, got: object) -> None:
        super().__init__(f"{path}\n  expected: {expected}\n  got:      {got}")


@dataclass
class Log:
    """What happened to the values of a file."""

    compared: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    current: str = ""


def kind_of(path: str) -> str:
    """The path with `[]` for every index and `*` for the names of orders."""
    return re.sub(r"\.final\.\w+", ".final.*", re.sub(r"\[\d+\]", "[]", path))


def section_of(path: str) -> str:
    """Name of the section a path belongs to."""
    return path.replace("[", ".").partition(".")[0]


class View:
    """One value of the file with its path, such as `transfer[3].amount`."""

    __slots__ = ("_log", "path", "raw")

    def __init__(self, raw: Json, path: str, log: Log) -> None:
        self.raw = raw
        self.path = path
        self._log = log

    def __getitem__(self, key: str | int) -> "View":
        path = f"{self.path}[{key}]" if isinstance(key, int) else f"{self.path}.{key}".lstrip(".")
        if isinstance(key, int) and isinstance(self.raw, list) and key < len(self.raw):
            return View(self.raw[key], path, self._log)
        if isinstance(key, str) and isinstance(self.raw, dict) and key in self.raw:
            return View(self.raw[key], path, self._log)
        raise MismatchError(path, "a value", "nothing")

    def __contains__(self, key: str) -> bool:
        return isinstance(self.raw, dict) and key in self.raw

    def __len__(self) -> int:
        return len(self._list())

    def __iter__(self) -> Iterator["View"]:
        return (self[index] for index in range(len(self._list())))

    def items(self) -> Iterator[tuple[int, "View"]]:
        """Index and value of a list, or of a mapping from indexes to values."""
        if not isinstance(self.raw, dict):
            yield from enumerate(self)
            return
        for key in self.raw:
            if not key.isdecimal():
                raise MismatchError(self.path, "indexes", key)
            yield int(key), self[key]

    def _list(self) -> list[Json]:
        if not isinstance(self.raw, list):
            raise MismatchError(self.path, "a list", type(self.raw).__name__)
        return self.raw

    def _touch(self) -> None:
        self._log.touched.add(self.path)
        self._log.current = self.path

    def exact_length(self, length: int) -> None:
        """Fail unless the list has `length` entries."""
        if len(self) != length:
            raise MismatchError(f"length of {self.path}", len(self), length)

    @property
    def null(self) -> bool:
        """Whether the value is null."""
        self._touch()
        return self.raw is None

    @property
    def flag(self) -> bool:
        """A boolean."""
        self._touch()
        if not isinstance(self.raw, bool):
            raise MismatchError(self.path, "true or false", self.raw)
        return self.raw

    @property
    def text(self) -> str:
        """A string."""
        self._touch()
        if not isinstance(self.raw, str):
            raise MismatchError(self.path, "text", self.raw)
        return self.raw

    @property
    def integer(self) -> int:
        """An integer, written as such or as decimal text."""
        self._touch()
        if isinstance(self.raw, int) and not isinstance(self.raw, bool):
            return self.raw
        if isinstance(self.raw, str) and self.raw.isascii() and self.raw.isdecimal() and len(self.raw) < 100:
            return int(self.raw)
        raise MismatchError(self.path, "an integer", self.raw)

    @property
    def address(self) -> bytes:
        """An address, 20 bytes."""
        return self._parse(ADDRESS_LENGTH)

    @property
    def hash(self) -> bytes:
        """A hash or key, 32 bytes."""
        return self._parse(32)

    def _parse(self, length: int) -> bytes:
        text = self.text
        try:
            return parse_address(text) if length == ADDRESS_LENGTH else hex_to_bytes(text, length)
        except NocustError as error:
            raise MismatchError(self.path, f"{length} bytes as hexadecimal text", text) from error

    def expect(self, computed: bytes | Scalar) -> None:
        """Compare the value with the one computed; bytes stand for hexadecimal text of any case."""
        self._touch()
        self._log.compared.add(self.path)
        shown = computed.hex() if isinstance(computed, bytes) else computed
        if not self._equals(computed):
            raise MismatchError(self.path, self.raw, shown)

    def _equals(self, computed: bytes | Scalar) -> bool:
        if isinstance(computed, bytes):
            text = self.raw.lower() if isinstance(self.raw, str) else None
            return text is not None and text.removeprefix("0x") == computed.hex()
        if isinstance(self.raw, str) and isinstance(computed, int) and not isinstance(computed, bool):
            return self.raw == str(computed)
        return type(self.raw) is type(computed) and self.raw == computed


def leaves(raw: Json, path: str) -> Iterator[str]:
    """Paths of all values below `raw`, lists and objects left out."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path
