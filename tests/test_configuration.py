"""`docs/configuration.md` lists exactly what the code reads from the environment, with its type and default."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from operator_api import settings
from scripts.hub import environment
from scripts.hub.config import PORT_VARIABLES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
HOLDERS = {"environ", "merged"}
"""What variables of the environment are kept in; settings have a reader of their own."""
READERS = {"_integer", "_seconds", "_number", "_text", "getenv"}
OF_THE_SYSTEM = {"DJANGO_SETTINGS_MODULE", "REQUEST_METHOD", "CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"}
OF_THE_SYSTEM |= {"PYTEST_XDIST_WORKER"}
IN_SHELL = re.compile(r"\$\{((?:HUB|BENCHMARK)_[A-Z_]+)[:}]")


def rows() -> dict[str, list[str]]:
    """The page's tables: type, default and meaning by name."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            name, *rest = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(rest) == 3, f"{name}: a row has a name, a type, a default and a meaning"
            assert name.strip("` ") not in found, f"{name} is there twice"
            found[name.strip("` ")] = rest
    return found


def sources(pattern: str) -> Iterator[Path]:
    for path in ROOT.rglob(pattern):
        parts = path.relative_to(ROOT).parts
        if not {".hub", "tests", "node_modules"} & set(parts):
            yield path


def _holder(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _constants(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
            yield node.value


def _asked_for(call: ast.Call) -> Iterator[str]:
    """The names that a call reads."""
    function = call.func
    if _holder(function) in READERS:
        yield from _constants(call.args[:2])
    elif isinstance(function, ast.Attribute) and _holder(function.value) in HOLDERS:
        yield from _constants(call.args[:1])


def read_beside_the_settings() -> set[str]:
    """Names that Python code reads without the settings' reader, and start scripts."""
    found = {*environment.NAMES, *PORT_VARIABLES.values()}
    for path in sources("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Subscript) and _holder(node.value) in HOLDERS:
                found.update(_constants([node.slice]))
            if isinstance(node, ast.Call):
                found.update(_asked_for(node))
    for path in (*sources("*.sh"), ROOT / "run.sh"):
        found.update(IN_SHELL.findall(path.read_text()))
    return found - OF_THE_SYSTEM


def test_the_page_lists_what_is_read_and_nothing_else() -> None:
    read = {*settings.environment.variables, *read_beside_the_settings()}
    listed = set(rows())
    lacking = [
        f"| `{name}` | {variable.kind} | {f'`{variable.default}`' if variable.default else 'none'} | ... |"
        for name, variable in settings.environment.variables.items()
        if name not in listed
    ]
    assert not lacking, "docs/configuration.md lacks these rows:\n" + "\n".join(lacking)
    assert sorted(read - listed) == [], "read, but not in docs/configuration.md"
    assert sorted(listed - read) == [], "in docs/configuration.md, but not read"


def test_each_setting_has_the_type_and_default_that_the_code_gives_it() -> None:
    listed = rows()
    for name, variable in settings.environment.variables.items():
        kind, default, meaning = listed[name]
        required = name in settings.REQUIRED_IN_PRODUCTION
        assert kind == variable.kind, name
        assert (f"`{variable.default}`" if variable.default else "none") in default, name
        assert ("required" in default) == required, f"{name}: required in production: {required}"
        assert meaning


def test_no_other_name_of_the_hub_is_in_the_code() -> None:
    listed = set(rows())
    for path in sources("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value
                if NAME.fullmatch(name) and name.startswith("HUB_"):
                    assert name in listed, f"{path.relative_to(ROOT)} has {name}"


def test_the_example_holds_settings_only_and_no_secret() -> None:
    listed = rows()
    lines = (ROOT / "deploy" / "example.env").read_text().splitlines()
    found = dict(line.lstrip("# ").split("=", 1) for line in lines if re.match(r"(?:# ?)?[A-Z_]+=", line))
    assert set(settings.REQUIRED_IN_PRODUCTION) <= set(found)
    for name, value in found.items():
        assert name in listed or name.startswith("COMPOSE_"), name
        assert listed.get(name, [""])[0] != "secret" or not value, f"{name} has a value"
