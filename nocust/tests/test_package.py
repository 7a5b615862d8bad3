import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = (
    "accumulator",
    "addresses",
    "agreements",
    "balances",
    "batch",
    "encoding",
    "ethereum",
    "interval",
    "leaves",
    "merkle",
    "messages",
    "passive",
    "recover",
    "recovery",
    "signatures",
    "swaps",
    "vectors.command",
)


def python(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    setup = f"import sys; sys.path[:0] = {[str(path) for path in (*paths, ROOT)]!r}\n"
    return subprocess.run([sys.executable, "-c", setup + code], capture_output=True, text=True, check=False)


def test_package_needs_only_its_two_libraries() -> None:
    allowed = {"nocust", "coincurve", "sha3", "_pysha3", "cffi", "_cffi_backend", "_libsecp256k1"}
    code = (
        "before = set(sys.modules)\nimport importlib\n"
        f"for name in {MODULES!r}: importlib.import_module('nocust.' + name)\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "new -= set(sys.stdlib_module_names)\n"
        f"print(sorted(new - {allowed!r}))"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_example_of_the_readme_runs() -> None:
    text = (ROOT / "nocust" / "README.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    assert "assert is_valid(" in example
    done = python(example)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("_pysha3.py", "class keccak_256: pass\n", "compiled form of safe-pysha3"),
        ("sha3.py", "class keccak_256: pass\n", "another package provides the module sha3"),
        ("sha3.py", "raise ImportError('broken build')\n", "compiled packages coincurve and safe-pysha3"),
        ("coincurve.py", "", "compiled packages coincurve and safe-pysha3"),
    ],
)
def test_no_silent_fallback(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    if name == "_pysha3.py":
        (tmp_path / "sha3.py").write_text("from _pysha3 import keccak_256\n")
    done = python("import nocust.encoding", tmp_path)
    assert done.returncode == 1
    assert "ImportError: nocust needs" in done.stderr
    assert sentence in done.stderr
