"""The compose files and the image: of the right form, complete, and true to what `./run.sh prod` knows.

Where docker's compose is installed it checks the files itself, too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from operator_api import settings
from scripts.hub import environment
from scripts.hub.production import COMMANDS
from scripts.hub.programs import SCRIPTS

ROOT = Path(__file__).resolve().parent.parent
FILES = ["docker-compose.yml", "docker-compose.production.yml"]
TEXTS = {"type": "array", "items": {"type": "string"}}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
CONDITIONS = ["service_started", "service_healthy", "service_completed_successfully"]
HEALTH = {
    "type": "object",
    "properties": {
        "test": {**TEXTS, "minItems": 2},
        "interval": DURATION,
        "timeout": DURATION,
        "start_period": DURATION,
        "retries": {"type": "integer", "minimum": 1},
    },
    "required": ["test", "interval", "timeout", "retries"],
    "additionalProperties": False,
}
SERVICE = {
    "type": "object",
    "properties": {
        "image": {"type": "string"},
        "build": {"type": "string"},
        "command": TEXTS,
        "entrypoint": TEXTS,
        "env_file": TEXTS,
        "environment": STRINGS,
        "secrets": TEXTS,
        "networks": TEXTS,
        "ports": {
            "type": "array",
            "items": {"type": "string", "pattern": r"^(\d+\.\d+\.\d+\.\d+:)?\d+:\d+$"},
        },
        "expose": TEXTS,
        "volumes": TEXTS,
        "tmpfs": TEXTS,
        "cap_drop": TEXTS,
        "security_opt": TEXTS,
        "profiles": TEXTS,
        "init": {"type": "boolean"},
        "read_only": {"type": "boolean"},
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "stop_grace_period": DURATION,
        "shm_size": {"type": "string"},
        "logging": {"type": "object", "properties": {"driver": {"type": "string"}, "options": STRINGS}},
        "healthcheck": HEALTH,
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"condition": {"enum": CONDITIONS}},
                "required": ["condition"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["image", "restart"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z][a-z0-9-]*$"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object"},
        "networks": {"type": "object"},
        "secrets": {"type": "object", "additionalProperties": {"type": "object", "required": ["file"]}},
    },
    "patternProperties": {"^x-": {}},
    "required": ["name", "services"],
    "additionalProperties": False,
}
"""The part of the compose specification that these files use: what is not in it is a slip of the pen."""
STEPS = {"deploy", "migrate", "prepare"}


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


@pytest.fixture(params=FILES)
def compose(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


def test_the_form_is_that_of_compose_files(compose: dict[str, Any]) -> None:
    jsonschema.validate({**compose, "services": {}}, SCHEMA)
    for name, service in compose["services"].items():
        # What a merge left out of a service takes no part; `restart` has a default in compose.
        jsonschema.validate({"restart": "no", **service}, SERVICE, cls=jsonschema.Draft202012Validator)
        assert re.fullmatch("[a-z][a-z0-9]*", name)


def test_everything_that_is_referred_to_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert other in services
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other]
        assert set(service.get("networks", [])) <= set(compose.get("networks", {}))
        assert set(service.get("secrets", [])) <= set(compose.get("secrets", {}))
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in compose["volumes"]
            if source.endswith((".conf", ".env")):
                assert (ROOT / source).exists()
        known = {*settings.environment.variables, *environment.NAMES}
        if service["image"].startswith("nocust-hub"):
            assert set(service["environment"]) <= known


def test_each_process_is_a_service_with_a_health_check(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(SCRIPTS) <= set(services)
    assert {"migrate", "prepare"} <= set(services)
    for name in SCRIPTS:
        service = services[name]
        assert service["healthcheck"]["test"][-3:] == ["-m", "scripts.health", name]
        assert service["depends_on"]["prepare"]["condition"] == "service_completed_successfully"
        assert SCRIPTS[name] in " ".join(service.get("entrypoint", [])) or service["command"] == [name]
    for name, service in services.items():
        assert "healthcheck" in service or name in STEPS, f"{name} has no health check"
    assert services["prepare"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        name, _, tag = service["image"].rpartition(":")
        assert name.startswith("nocust-hub") or re.match(r"v?\d+\.\d+", tag), service["image"]


def test_production_scales_keeps_no_secret_and_gives_no_rights() -> None:
    services = load("docker-compose.production.yml")["services"]
    assert not {"ports", "container_name"} & set(services["server"])
    for name in (*SCRIPTS, "migrate", "prepare"):
        service = services[name]
        assert service["command"][0] in {*SCRIPTS, *COMMANDS}
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert service["env_file"] == [".env"]
        assert int(service["stop_grace_period"].rstrip("s")) > 60
    text = (ROOT / "docker-compose.production.yml").read_text()
    assert not re.search(r"(PASSWORD|KEY|SECRET)\w*:\s*(?!/run/secrets/)\S", text)
    proxy = (ROOT / "deploy" / "nginx.conf").read_text()
    assert "server server:8123 resolve" in proxy
    assert services["server"]["environment"]["HUB_PORT"] == "8123"


def test_the_image_is_built_in_stages_and_runs_as_an_ordinary_user() -> None:
    lines = [
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")
    ]
    froms = [index for index, line in enumerate(lines) if line.startswith("FROM ")]
    assert len(froms) == 2
    assert re.fullmatch(r"ARG BASE=python:3\.\d+\.\d+-slim-bookworm", lines[0])
    last = lines[froms[-1] :]
    assert [line for line in last if line.startswith("USER ")] == ["USER hub"]
    assert last.index("USER hub") < next(i for i, line in enumerate(last) if line.startswith("ENTRYPOINT"))
    assert not [line for line in last if "gcc" in line]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".env", ".git", ".hub", "deploy/secrets"} <= set(ignored)


@pytest.mark.parametrize("name", FILES)
def test_docker_compose_accepts_it(name: str, tmp_path: Path) -> None:
    docker = shutil.which("docker")
    plugin = docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    if not plugin or plugin.returncode != 0:
        pytest.skip("docker's compose is not installed")
    shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".env").touch()
    command = ["docker", "compose", "-f", str(tmp_path / name), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def nginx_version() -> tuple[int, ...]:
    if shutil.which("nginx") is None:
        return ()
    text = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
    return tuple(map(int, text.strip().rpartition("/")[2].split()[0].split(".")))


@pytest.mark.skipif(nginx_version() < (1, 27, 3), reason="no nginx 1.27.3 or later, which knows `resolve`")
def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    names = ["-subj", "/CN=hub.example.org", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names], check=True, capture_output=True
    )
    file = tmp_path / "nginx.conf"
    file.write_text(text.replace("/etc/nginx/tls", str(tmp_path)))
    done = subprocess.run(
        ["nginx", "-t", "-c", str(file), "-p", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
