"""`python -m scripts.hub COMMAND`: what `run.sh` calls."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.hub import config as configuration
from scripts.hub import instance
from scripts.hub.commands import become, is_help, refuse_arguments
from scripts.hub.config import ROOT, Config, base_environment
from scripts.hub.errors import HubError, StopRequested

USAGE = """usage: ./run.sh [COMMAND]

  dev              install what is missing, start the development hub and keep it running (the default)
  stop             end the hub that runs in this checkout
  status           the state of each of its processes
  logs [NAME...]   follow the logs, or those of the named processes
  reset            end the hub and delete its data: database, chain, Redis, logs
  test [ARGS...]   lint, check types and run all tests; with arguments, run pytest with them
  doctor           check everything that the hub needs, and print what mends each failing point
  env              print the running hub's variables as shell commands
  manage ARGS...   Django's manage.py with the running hub's variables
  prod [COMMAND]   the production hub, from .env: './run.sh prod help' lists its commands
  help             this text

Settings come from the environment: HUB_PORT, HUB_NODE_PORT, HUB_DATABASE_PORT, HUB_REDIS_PORT, HUB_BLOCK_TIME,
HUB_BLOCKS_PER_EON, and DATABASE_URL, REDIS_URL, HUB_ETHEREUM_NODE_URL to use servers of your own.
HUB_TEST_WORKERS is how many processes share the tests: 2 of all tests, with arguments none but pytest's own."""


def dev(config: Config, _arguments: list[str]) -> int:
    """Start the hub and keep it running until Ctrl-C, SIGTERM or `stop`."""
    from scripts.hub import report
    from scripts.hub.hub import Hub
    from scripts.hub.progress import Progress

    progress = Progress(sys.stdout)
    with instance.hold(config.folder):
        hub = Hub(config, progress)

        def request_stop(_number: int, _frame: object) -> None:
            hub.supervisor.stop_requested = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, request_stop)
        try:
            hub.start()
            print(report.where(config, hub.environment, progress.seconds()), flush=True)
            hub.watch()
        except StopRequested:
            progress.say("stopped before it was ready")
        finally:
            with progress.step("ending"):
                hub.stop()
    return 0


def stop(config: Config, _arguments: list[str]) -> int:
    """End the running hub."""
    print("The hub was ended." if instance.stop(config.folder) else "The hub is not running.")
    return 0


def reset(config: Config, _arguments: list[str]) -> int:
    """End the running hub and delete its data."""
    instance.stop(config.folder)
    with instance.hold(config.folder):
        instance.reset(config.folder)
    print(f"The data in {config.folder} was deleted: database, chain, Redis, logs.")
    if config.database_url or config.redis_url or config.node_url:
        print("Servers that DATABASE_URL, REDIS_URL or HUB_ETHEREUM_NODE_URL name were left as they are.")
    return 0


def status(config: Config, _arguments: list[str]) -> int:
    """Print the state of each process; 0 if all is well."""
    from scripts.hub import report

    text, healthy = report.status(config.folder)
    print(text)
    return 0 if healthy else 1


def logs(config: Config, arguments: list[str]) -> int:
    """Follow logs with `tail`."""
    found = sorted(config.logs.glob("*.log"))
    chosen = [path for path in found if not arguments or path.stem in arguments]
    if not chosen:
        known = ", ".join(path.stem for path in found) or "none yet"
        raise HubError(f"There is no such log in {config.logs}; there are: {known}.")
    return become(["tail", "-n", "20", "-F", *map(str, chosen)], dict(os.environ))


def instance_environment(config: Config) -> dict[str, str]:
    """The variables of the running hub, or those of the environment if it names all servers. Raises HubError."""
    record = instance.running(config.folder)
    if record is not None and record.environment:
        return record.environment
    if config.database_url and config.redis_url and config.node_url:
        urls = (config.database_url, config.redis_url, config.node_url)
        return configuration.children_environment(config, *urls)
    raise HubError("The hub is not running: start it with ./run.sh in another shell.")


def env(config: Config, _arguments: list[str]) -> int:
    """Print `export` lines."""
    for name, value in instance_environment(config).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def manage(config: Config, arguments: list[str]) -> int:
    """Run manage.py."""
    environment = base_environment() | instance_environment(config)
    return become([sys.executable, str(ROOT / "manage.py"), *arguments], environment)


def test(config: Config, arguments: list[str]) -> int:
    """Run the checks and tests with services of their own."""
    from scripts.hub import testing

    return testing.run(config, arguments)


def doctor(config: Config, _arguments: list[str]) -> int:
    """Check what the hub needs."""
    from scripts.hub import doctor as checks

    return checks.run(config)


ALONE = {"dev", "stop", "reset", "status", "doctor", "env"}
"""Commands that take no arguments."""
COMMANDS: dict[str, Callable[[Config, list[str]], int]] = {
    "dev": dev,
    "stop": stop,
    "reset": reset,
    "status": status,
    "logs": logs,
    "env": env,
    "manage": manage,
    "test": test,
    "doctor": doctor,
}


def main(arguments: list[str]) -> int:
    """Run one command; its exit code. Errors that the reader can mend are printed as a sentence."""
    name = arguments[0] if arguments else "dev"
    if is_help(arguments[:1]) or (name in ALONE and is_help(arguments[1:])):
        print(USAGE)
        return 0
    if name not in {*COMMANDS, "prod"}:
        print(f"There is no command {name!r}.\n\n{USAGE}", file=sys.stderr)
        return 2
    try:
        if name in ALONE:
            refuse_arguments(name, arguments[1:])
        if name == "prod":
            from scripts.hub import production

            code = production.run(arguments[1:])
        else:
            code = COMMANDS[name](configuration.from_environment(), arguments[1:])
        sys.stdout.flush()
        return code
    except HubError as error:
        print(f"run.sh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(ROOT)))
    sys.exit(main(sys.argv[1:]))
