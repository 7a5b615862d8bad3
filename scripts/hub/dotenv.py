"""Reading `.env`: one `NAME=value` a line (`docs/configuration.md`)."""

from __future__ import annotations

import re
from pathlib import Path

LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")
QUOTED = re.compile(r"""(?P<quote>['"])(?P<inside>.*)(?P=quote)\s*(?:#.*)?""")
COMMENT = re.compile(r"(?:^|\s)#.*")


def parse(text: str) -> tuple[dict[str, str], list[str]]:
    """The values by name, and what is wrong, a sentence each with its line number; values are never repeated there.

    Empty lines and those that begin with # are passed over, as is `export` before a name. A value may stand in
    single or double quotes, and is taken as it is: nothing in it is replaced. Without quotes, # after a blank
    begins a comment.
    """
    values: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = LINE.fullmatch(stripped)
        if found is None:
            problems.append(f"line {number}: is not NAME=value")
            continue
        name, value = found["name"], found["value"]
        if name in values:
            problems.append(f"line {number}: {name} is set a second time")
        if value[:1] in {"'", '"'}:
            quoted = QUOTED.fullmatch(value)
            if quoted is None:
                problems.append(f"line {number}: the quotes around {name}'s value are not closed")
                continue
            values[name] = quoted["inside"]
        else:
            values[name] = COMMENT.sub("", value).strip()
    return values, problems


def read(path: Path) -> tuple[dict[str, str], list[str]]:
    """The values in a file, and what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        return {}, [f"{path}: {reason}"]
    values, problems = parse(text)
    return values, [f"{path}, {problem}" for problem in problems]
