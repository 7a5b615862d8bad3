import copy
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nocust.__main__ import main
from nocust.vectors.command import SECTIONS, check_vectors
from nocust.vectors.view import kind_of, leaves, section_of

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests" / "data" / "vectors.json"
UNUSED = re.compile(r"^(\S+): skipped \d+: nothing depends on the field$", re.MULTILINE)


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(FILE.read_text())
    return parsed


def run(raw: dict[str, Any]) -> tuple[int, str]:
    out = io.StringIO()
    return check_vectors(raw, out), out.getvalue()


def steps(path: str) -> list[str | int]:
    return [int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", path)]


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value is None:
        return "1"
    if not value:
        return "00"
    return value[:-1] + ("1" if value[-1] in "0xX" else "0")


def test_every_value_is_reproduced(vectors: dict[str, Any]) -> None:
    code, report = run(vectors)
    assert code == 0, report
    for section in SECTIONS:
        assert re.search(rf"^{section}: [1-9]\d* compared$", report, re.MULTILINE)
    assert "experiments: skipped 107: records of runs, not vectors" in report
    assert int(re.findall(r"All (\d+) values", report)[0]) >= 1500


def test_command_of_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nocust", "vectors", str(FILE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "values compared agree" in done.stdout


def samples(vectors: dict[str, Any]) -> list[str]:
    """One path of every kind of field that the report does not name as unused: last entry of each list."""
    unused = set(UNUSED.findall(run(vectors)[1]))
    paths = [path for path in leaves(vectors, "") if section_of(path) in SECTIONS]
    found = {kind_of(path): path for path in paths if kind_of(path) not in unused}
    for kind in found:
        if section_of(kind) == "signing_invalid":
            # a change leaves an invalid signature invalid; the first entry is the valid one
            found[kind] = kind.replace("[]", "[0]")
        elif kind == "matching.scenarios[].steps[].amount_swapped":
            # the last taker's limit is far from what it trades at; the first maker's is met exactly
            found[kind] = kind.replace("[]", "[0]")
    return list(found.values())


def test_every_changed_field_is_noticed(vectors: dict[str, Any]) -> None:
    paths = samples(vectors)
    assert {section_of(path) for path in paths} == set(SECTIONS)
    assert len(paths) > 200
    unnoticed = []
    for path in paths:
        *above, last = steps(path)
        holder: Any = vectors
        for step in above:
            holder = holder[step]
        before = holder[last]
        holder[last] = changed(before)
        try:
            code, report = run(vectors)
        finally:
            holder[last] = before
        if code != 1 or "MISMATCH in " not in report or "expected: " not in report or "got: " not in report:
            unnoticed.append(path)
    assert unnoticed == []
    assert run(vectors)[0] == 0


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_empty_sections_and_missing_fields_are_noticed(vectors: dict[str, Any], section: str) -> None:
    replacements: list[Any] = [[], {}, None, 1, "text", [{}], [None]]
    for replacement in replacements:
        code, report = run(vectors | {section: replacement})
        assert code == 1, (replacement, report)
        assert "MISMATCH in " in report


def test_report_names_the_place(vectors: dict[str, Any]) -> None:
    raw = copy.deepcopy(vectors)
    raw["transfer"][2]["leaf_in_sender_set"] = "00" * 32
    code, report = run(raw)
    assert code == 1
    expected = vectors["transfer"][2]["leaf_in_sender_set"]
    assert (
        f"MISMATCH in transfer[2].leaf_in_sender_set\n  expected: {'00' * 32}\n  got:      {expected}"
        in report
    )


def test_what_is_not_known_is_reported(vectors: dict[str, Any]) -> None:
    raw = copy.deepcopy(vectors)
    raw["novelty"] = [1, {"a": 2}]
    raw["transfer"][0]["remark"] = "x"
    code, report = run(raw)
    assert code == 0
    assert "novelty: skipped 2: section not known" in report
    assert "transfer[].remark: skipped 1: nothing depends on the field" in report


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a JSON document"),
        (b"{", "is not a JSON document"),
        (b"\xff\xfe", "is not a JSON document"),
        (b"[" * 100000, "is not a JSON document"),
        (b"[]", "is not a file of vectors: it is not a JSON object"),
        (b"{}", "is not a file of vectors: it lacks active_state, admission"),
    ],
)
def test_garbled_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, sentence: str
) -> None:
    file = tmp_path / "vectors.json"
    file.write_bytes(content)
    assert main(["vectors", str(file)]) == 2
    assert sentence in capsys.readouterr().out


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", str(tmp_path / "none.json")]) == 2
    assert "cannot be read: No such file or directory." in capsys.readouterr().out
    assert main(["vectors", str(tmp_path)]) == 2
