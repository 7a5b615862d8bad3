"""How the library that verifies signatures together is built. That it is right is tested in `nocust`."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from nocust import batch
from nocust.batch import Batch
from scripts import batch_library
from scripts.batch_library import BuildError, build, check
from scripts.tests.helpers import write_script

OLD = b"of an earlier build"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "lib" / "nocust_batch_0123456789abcdef.so"
    made.parent.mkdir()
    made.write_bytes(OLD)
    return made


@pytest.fixture(autouse=True)
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is fetched here: what would be."""
    wanted: list[str] = []
    monkeypatch.setattr(
        batch_library,
        "_pip",
        lambda _arguments, requirement, _folder, **_variables: wanted.append(requirement.split("==")[0]),
    )
    monkeypatch.setattr(batch_library, "libsecp256k1", lambda folder: folder)
    monkeypatch.delenv("CC", raising=False)
    return wanted


def own_compiler(monkeypatch: pytest.MonkeyPatch, path: Path | None) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: path and name == "gcc" and str(path))


def copying(tmp_path: Path, what: Path) -> Path:
    """Stands for a compiler whose work is this file."""
    return script(tmp_path, f'cp "{what}" "${{@: -1}}"')


def failing(tmp_path: Path) -> Path:
    return script(tmp_path, "echo no stdlib.h >&2; exit 1")


def script(tmp_path: Path, text: str) -> Path:
    write_script(tmp_path / "compiler", f"#!/usr/bin/env bash\n{text}\n")
    return tmp_path / "compiler"


def compiled(tmp_path: Path, text: str) -> Path:
    """A library with other insides."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source, made = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text(text)
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(made)], check=True)
    return made


def built() -> Path:
    if not batch.is_available():
        pytest.skip("the library is not built: see .hub/install.log")
    return batch.library_file()


def test_the_machine_s_compiler_makes_it(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_compiler(monkeypatch, copying(tmp_path, built()))
    build(file)
    assert file.read_bytes() == built().read_bytes()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "lib").touch()
    with pytest.raises(BuildError, match="lib: File exists"):
        build(tmp_path / "lib" / "library.so")


def test_other_pins_are_another_library() -> None:
    """The library's name tells the source it was built of; so the source names what else it was built of."""
    pinned = (
        batch_library.LIBSECP256K1,
        batch_library.SETUPTOOLS,
        batch_library.COMPILER,
        *batch_library.OPTIONS,
    )
    digest = sha256("".join(pinned).encode()).hexdigest()[:8]
    assert f"scripts/batch_library.py: {digest}." in batch.SOURCE.read_text()


@pytest.mark.parametrize("there", [True, False])
def test_without_a_compiler_that_works_one_is_fetched(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str], there: bool
) -> None:
    own_compiler(monkeypatch, failing(tmp_path) if there else None)
    with pytest.raises(BuildError, match="ziglang/zig: No such file"):  # this stand-in for pip brings nothing
        build(file)
    assert fetched == ["ziglang"]
    assert file.read_bytes() == OLD
    assert list(file.parent.iterdir()) == [file]


def test_a_compiler_that_was_named_is_the_only_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str]
) -> None:
    monkeypatch.setenv("CC", f"{failing(tmp_path)} -O3")
    with pytest.raises(BuildError, match="compiler -O3"):
        build(file)
    assert fetched == []
    assert file.read_bytes() == OLD


@pytest.mark.parametrize("content", ["no library", ""])
def test_what_is_no_library_is_not_put_there(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "text").write_text(content)
    own_compiler(monkeypatch, copying(tmp_path, tmp_path / "text"))
    with pytest.raises(BuildError, match="what was built cannot be used"):
        build(file)
    assert file.read_bytes() == OLD


SIGNS_NOTHING = "void *nocust_start(void) { return (void *)1; } int nocust_sign(void) { return 1; }"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("int nocust_are_valid(void) { return 1; }", "takes a bad signature"),
        ("int nocust_are_valid(void) { return 0; }", "refuses good signatures"),
        ("int nocust_are_valid(void) { return -1; }", "refuses good signatures"),
        ("int another(void) { return 1; }", "is another library"),
    ],
)
def test_a_library_that_is_wrong_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BuildError, match=sentence):
        check(compiled(tmp_path, f"{SIGNS_NOTHING} {text}"))


def test_a_library_that_signs_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False, True, False, False, *2 * [True, False, False, False]])
    monkeypatch.setattr(Batch, "holds", lambda _batch: next(answers))
    with pytest.raises(BuildError, match="makes wrong signatures"):
        check(compiled(tmp_path, f"{SIGNS_NOTHING} int nocust_are_valid(void) {{ return 1; }}"))


def test_a_failure_is_told_and_no_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", str(failing(tmp_path)))
    monkeypatch.setattr(batch_library, "library_file", lambda: tmp_path / "lib" / "library.so")
    assert batch_library.main() == 1
    assert "no stdlib.h" in capsys.readouterr().err
