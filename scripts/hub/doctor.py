"""`./run.sh doctor`: checks everything that the hub needs, and prints what mends each failing point.

Runs with whatever Python there is, before anything is installed: packages are imported inside the checks.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from scripts.hub import instance, node, place, ports, postgres, proc, redis, tie
from scripts.hub.config import CHAIN_ID, HUB_FOLDER, PORT_VARIABLES, ROOT, Config
from scripts.hub.errors import HubError

PYTHONS = ((3, 11), (3, 13))
FREE_DISK = 2 * 1024**3  # bytes
OPEN_FILES = 1024
GLIBC = (2, 35)  # what anvil is linked against
RUN = "run ./run.sh, which installs it; the output of the last attempt is in .hub/install.log"


class Failed(Exception):
    """A check that failed: what was found, and what mends it."""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(found)
        self.fix = fix


@dataclass(frozen=True)
class Doctor:
    """The checks of one instance; each returns what it found or raises Failed or HubError."""

    config: Config

    def python(self) -> str:
        version = sys.version_info[:2]
        if not PYTHONS[0] <= version <= PYTHONS[1]:
            raise Failed(
                platform.python_version(), "install Python 3.11, 3.12 or 3.13, or name it with HUB_PYTHON"
            )
        return f"{platform.python_version()} ({sys.executable})"

    def linux(self) -> str:
        if shutil.which("setpriv") is None:
            raise Failed("no setpriv", "apt-get install util-linux")
        return f"{platform.system()} {platform.release()} {platform.machine()}"

    def folder(self) -> str:
        existing = HUB_FOLDER if HUB_FOLDER.exists() else ROOT
        if not os.access(existing, os.W_OK):
            raise Failed(f"{existing} is not writable", f"make it yours: chown -R $(id -un) {existing}")
        free = shutil.disk_usage(existing).free
        if free < FREE_DISK:
            raise Failed(
                f"{free / 1024**3:.1f} GiB free", "free some space: packages, data and logs need 2 GiB"
            )
        return f"{free / 1024**3:.0f} GiB free in {existing}"

    def open_files(self) -> str:
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
            raise Failed(f"limit of {soft}", f"raise it: ulimit -n {OPEN_FILES}")
        return f"limit of {soft}"

    def venv(self) -> str:
        path = HUB_FOLDER / "venv" / "bin" / "python"
        if not path.exists():
            raise Failed("missing", "run ./run.sh, which makes it")
        if sys.prefix != str(HUB_FOLDER / "venv"):
            raise Failed(f"{path} does not run", "rm -rf .hub/venv, then ./run.sh makes it anew")
        return str(HUB_FOLDER / "venv")

    def packages(self) -> str:
        wrong, count = [], 0
        for name in ("requirements.txt", "requirements-dev.txt"):
            for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
                found = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line)
                if found is None:
                    continue
                count += 1
                if _version(found[1]) != found[2]:
                    wrong.append(f"{found[1]} {_version(found[1]) or 'missing'} instead of {found[2]}")
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise Failed(
                ", ".join(wrong[:3]) + more, "rm -f .hub/venv/.requirements-installed, then ./run.sh"
            )
        return f"{count} as pinned"

    def batch_library(self) -> str:
        from nocust.batch import is_available

        if is_available():
            return "verified together"
        return "verified one by one: ./run.sh could not build the library, see .hub/install.log"

    def npm(self) -> str:
        if (HUB_FOLDER / "npm" / "node_modules" / "nocust-client").exists():
            return "installed in .hub/npm"
        version = _output(["npm", "--version"])
        if not version:
            raise Failed("no npm on PATH", "none needed: ./run.sh installs a node of its own from PyPI")
        raise Failed("packages missing", RUN)

    def anvil(self) -> str:
        if self.config.node_url:
            return "not needed: HUB_ETHEREUM_NODE_URL is set"
        libc = platform.libc_ver()
        found = tuple(int(part) for part in re.findall(r"\d+", libc[1])[:2])
        if libc[0] != "glibc" or found < GLIBC:
            raise Failed(
                f"C library {' '.join(libc)}", "anvil needs glibc 2.35 (Debian 12): set HUB_ETHEREUM_NODE_URL"
            )
        version = _output([str(node.binary()), "--version"])
        if not version:
            raise Failed("does not run", "rm -rf .hub/npm, then ./run.sh")
        return version.splitlines()[0]

    def postgres_programs(self) -> str:
        if self.config.database_url:
            return "not needed: DATABASE_URL is set"
        account = place.unprivileged() if os.geteuid() == 0 else None
        folder = place.programs(account, install=False)
        return f"{_output([str(folder / 'postgres'), '--version'])}" + (
            f" as {account.name}" if account else ""
        )

    def redis_program(self) -> str:
        if self.config.redis_url:
            return "not needed: REDIS_URL is set"
        version = _output([str(redis.binary()), "--version"])
        if not version:
            raise Failed(f"{redis.binary()} does not run", "apt-get install redis-server, or set REDIS_URL")
        return version.split(" sha=")[0]

    def free_ports(self) -> str:
        if instance.running(self.config.folder) is not None:
            return "held by the running hub"
        for what, purpose in self.config.embedded.items():
            port, variable = self.config.ports[what], PORT_VARIABLES[what]
            if not ports.is_free(port):
                who = proc.listener(port) or "another process"
                raise Failed(
                    f"{port} ({purpose}) is occupied by {who}", f"end that process or set {variable}"
                )
        return ", ".join(str(self.config.ports[what]) for what in self.config.embedded)

    def database(self) -> str:
        url = self._url("DATABASE_URL", self.config.database_url)
        if not url:
            return "embedded, not running"
        trouble = postgres.problem(url)
        if trouble:
            raise Failed(trouble, "start that PostgreSQL or correct DATABASE_URL")
        return f"answers on {urlsplit(url).hostname}:{urlsplit(url).port}"

    def redis_server(self) -> str:
        url = self._url("REDIS_URL", self.config.redis_url)
        if not url:
            return "embedded, not running"
        trouble = redis.problem(url)
        if trouble:
            raise Failed(trouble, "start that Redis or correct REDIS_URL")
        return f"answers on {urlsplit(url).hostname}:{urlsplit(url).port}"

    def chain(self) -> str:
        url = self._url("HUB_ETHEREUM_NODE_URL", self.config.node_url)
        if not url:
            return "embedded, not running"
        served = node.check_external(url)
        if served != self.config.chain_id:
            raise Failed(
                f"chain {served}, expected {self.config.chain_id}", f"set HUB_ETHEREUM_CHAIN_ID={served}"
            )
        if not tie.has_code(url, self.config.contract):
            fix = "run ./run.sh, which deploys it" if served == CHAIN_ID else "set HUB_LQD_CONTRACT_ADDRESS"
            raise Failed(f"chain {served}, but no contract at {self.config.contract}", fix)
        return f"chain {served}, contract at {self.config.contract}"

    def _url(self, name: str, given: str) -> str:
        record = instance.running(self.config.folder)
        return given or (record.environment.get(name, "") if record else "")

    def checks(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("Python", self.python),
            ("system", self.linux),
            ("disk", self.folder),
            ("open files", self.open_files),
            ("environment", self.venv),
            ("Python packages", self.packages),
            ("signatures", self.batch_library),
            ("npm packages", self.npm),
            ("anvil", self.anvil),
            ("PostgreSQL", self.postgres_programs),
            ("Redis", self.redis_program),
            ("ports", self.free_ports),
            ("database", self.database),
            ("Redis server", self.redis_server),
            ("Ethereum node", self.chain),
        ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _output(command: list[str]) -> str:
    """What a command prints, empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def run(config: Config) -> int:
    """Print each check; the exit code is 1 if any failed."""
    failed = 0
    for name, check in Doctor(config).checks():
        try:
            found, fix = check(), ""
        except Failed as problem:
            found, fix = str(problem), problem.fix
        except HubError as problem:
            found, fix = "failed", str(problem)
        except ImportError as problem:
            found, fix = f"the package {problem.name} is missing" if problem.name else str(problem), RUN
        failed += bool(fix)
        print(f"  {'FAIL' if fix else 'ok':<5}{name:<18}{found}")
        if fix:
            print(f"       {'':<18}mend: {fix}")
    print("\nEverything is there." if not failed else f"\n{failed} of the checks failed.")
    return 1 if failed else 0
