"""Builds the library that verifies and makes signatures together (`nocust/batch.c`).

    python -m scripts.batch_library

It includes the source of libsecp256k1, version 0.8.0, taken from a Python package that carries it. The machine's C
compiler builds it, or one out of a Python package where there is none. All that is fetched is pinned by its hash.
The library goes beside the packages of this Python, under a name that tells the source it was built of: who changes
what is pinned here changes the source's note of it, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nocust.batch import SOURCE, Batch, KnownKeys, Library, library_file, sign_all
from nocust.signatures import Signer, recover_key

LIBSECP256K1 = (
    "electrum-ecc==0.0.8 --hash=sha256:94869a77de28ee79b7f7e974af5c20b392b949905880a8b26504e28202644106\n"
)
# What pip takes to look into the package above, which it would otherwise choose itself.
SETUPTOOLS = (
    "setuptools==84.2.1 --hash=sha256:ca140b45d5325a9478f880e351484f62fef15f336462e449ca0c03c873d589c2\n"
)
COMPILER = (
    "ziglang==0.17.1"
    " --hash=sha256:ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54"  # x86_64
    " --hash=sha256:b7c5f02fccd40f89b999ee16a1f5ddced56e6182370f8affe494bcf8a28cf07e\n"  # aarch64
)
OPTIONS = (
    *("-std=gnu99", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-sanitize=undefined"),
    *("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"),
)


KEY = b"\1" * 32
"""For trying the library out."""
TRIED = (1, 2, 7, 120)
"""Signatures tried together, two of each key: 120 have more than the 88 points at which the algorithm changes."""
MOST_TRIED = max(TRIED)


class BuildError(RuntimeError):
    """The library cannot be built; the message says why."""


def build(file: Path) -> None:
    """Build the library, see that it works, and put it there. Raises BuildError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building_", dir=file.parent) as name:
            folder = Path(name)
            made = folder / file.name
            _compile(libsecp256k1(folder), made, folder)
            check(made)
            made.replace(file)
    except OSError as error:
        raise BuildError(f"{error.filename or file}: {error.strerror or error}") from error


def libsecp256k1(folder: Path) -> Path:
    """The library's source code, unpacked in a folder."""
    tools = folder / "tools"
    _pip(["install", "--target", str(tools)], SETUPTOOLS, folder)
    download = ["download", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(folder)]
    _pip(download, LIBSECP256K1, folder, PYTHONPATH=str(tools))
    (archive,) = folder.glob("electrum_ecc-*.tar.gz")
    with tarfile.open(archive) as packed:
        # Debian 12's Python has no filters; what is unpacked is what the hash says
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(folder)  # noqa: S202
    (found,) = folder.glob("electrum_ecc-*/libsecp256k1")
    return found


def _compile(headers: Path, made: Path, folder: Path) -> None:
    """With CC of the environment, or the machine's compiler; with a fetched one if it has none that works."""
    arguments = [*OPTIONS, f"-I{headers}", str(SOURCE), "-o", str(made)]
    if given := os.environ.get("CC"):
        return _run([*given.split(), *arguments], folder)
    if own := shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"):
        with suppress(BuildError):  # a compiler without the headers of the C library, as some images have
            return _run([own, *arguments], folder)
    return _run([*fetched_compiler(folder), *arguments], folder)


def fetched_compiler(folder: Path) -> list[str]:
    """The command of a compiler that is fetched into a folder."""
    target = folder / "compiler"
    _pip(["install", "--target", str(target)], COMPILER, folder)
    # its default is this very processor, and a virtual machine may wake up on another
    return [str(target / "ziglang" / "zig"), "cc", "-mcpu=baseline"]


def check(made: Path) -> None:
    """Raise BuildError unless a built library takes good signatures and no bad one, alone and among others, and
    makes the right ones."""
    try:
        library = Library(made)
    except OSError as error:
        raise BuildError(f"what was built cannot be used: {error}") from error
    signers = [Signer(bytes([1 + number // 2]) * 32) for number in range(MOST_TRIED)]
    messages = [bytes([number]) * 32 for number in range(MOST_TRIED)]
    for count in TRIED:
        if not _holds(library, signers[:count], messages, messages):
            raise BuildError("what was built refuses good signatures")
        for bad in {0, count // 2, count - 1}:
            claimed = [*messages[:bad], b"\xff" * 32, *messages[bad + 1 :]]
            if _holds(library, signers[:count], messages, claimed):
                raise BuildError("what was built takes a bad signature")
    if sign_all(messages, KEY, library) != sign_all(messages, KEY, None):
        raise BuildError("what was built makes wrong signatures")


def _holds(
    library: Library, signers: Sequence[Signer], signed: Sequence[bytes], claimed: Sequence[bytes]
) -> bool:
    keys = KnownKeys()
    batch = Batch(library, keys)
    for signer, message, other in zip(signers, signed, claimed, strict=False):
        signature = signer.sign(message)
        keys.add(signer.address, recover_key(message, signature))
        batch.is_valid(other, signature, signer.address)
    return batch.holds()


def _pip(arguments: list[str], requirement: str, folder: Path, **variables: str) -> None:
    """Run pip for one pinned package."""
    wanted = folder / "wanted.txt"
    wanted.write_text(requirement)
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--requirement",
        str(wanted),
    ]
    _run([sys.executable, "-m", "pip", *arguments, *options], folder, **variables)


def _run(command: list[str], folder: Path, **variables: str) -> None:
    """Run a command with what it keeps in a folder. Raises BuildError with what it printed."""
    own = {"ZIG_GLOBAL_CACHE_DIR": str(folder / "cache"), "TMPDIR": str(folder)}
    environment = os.environ | own | variables
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise BuildError(f"'{' '.join(command)}' failed:\n{done.stdout}{done.stderr}")


def main() -> int:
    try:
        build(library_file())
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(library_file())
    return 0


if __name__ == "__main__":
    sys.exit(main())
