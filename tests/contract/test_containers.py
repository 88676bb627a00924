"""docker-compose.yml and the Dockerfile: valid, pinned, without default secrets, and of things that exist."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from services.runtime.settings import known_variables

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = ("ingest", "aggregate", "alerts")
services = pytest.mark.parametrize("name", COMPOSE["services"])


def compose_specification() -> dict[str, Any]:
    """The JSON Schema of the Compose specification, which check-jsonschema ships."""
    package = find_spec("check_jsonschema")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def test_it_is_a_compose_file() -> None:
    """Valid by the specification's own schema."""
    jsonschema.Draft7Validator(compose_specification()).validate(COMPOSE)


@services
def test_every_image_is_pinned(name: str) -> None:
    """To a version of three parts: what was tested is what runs."""
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", COMPOSE["services"][name]["image"])


def test_the_base_image_is_pinned() -> None:
    """And each stage is built on it."""
    assert re.search(r"^ARG PYTHON=3\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:${PYTHON}"}


@services
def test_a_service_starts_when_what_it_needs_is_healthy(name: str) -> None:
    """Every dependency waits for health and has a health check; all but the broker have a dependency."""
    assert bool(COMPOSE["services"][name].get("depends_on")) == (name != "kafka")
    for other, check in COMPOSE["services"][name].get("depends_on", {}).items():
        assert check == {"condition": "service_healthy"}
        assert "healthcheck" in COMPOSE["services"][other] or (other in OURS and "HEALTHCHECK" in DOCKERFILE)


@services
def test_a_service_has_no_privileges_and_is_not_open_to_the_network(name: str) -> None:
    """No capabilities, no new privileges; ports are published on the loopback address only."""
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    for port in service.get("ports", []):
        assert str(port).startswith("127.0.0.1:")
    if name != "kafka":  # its image writes its configuration beside its programs
        assert service["read_only"] is True


def test_no_secret_has_a_default() -> None:
    """Grafana's password and ingest's API key have to be set, or nothing starts."""
    text = (ROOT / "docker-compose.yml").read_text()
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|KEY|SECRET)\w*)(\S*)", text)
    assert {name for name, _ in secrets} == {"GRAFANA_ADMIN_PASSWORD", "FANPULSE_API_KEY_HASH"}
    assert all(rest.startswith(":?") for _, rest in secrets)


@pytest.mark.parametrize("name", OURS)
def test_our_settings_exist_and_the_image_can_be_built(name: str) -> None:
    """Each variable is a setting, the extra is one of the distribution's, its lock file is there."""
    service = COMPOSE["services"][name]
    variables = {key for key in service["environment"] if key.startswith("FANPULSE_")}
    variables |= set(re.findall(r"\b(FANPULSE_\w+)=", DOCKERFILE))
    assert "FANPULSE_KAFKA_BOOTSTRAP" in variables
    assert variables - known_variables() == set()
    assert service["build"]["args"] == {"EXTRA": name}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert name in project["optional-dependencies"]
    assert service["image"] == f"fanpulse-{name}:{project['version']}"
    assert (ROOT / "requirements" / f"{name}.txt").is_file()


def test_what_is_mounted_exists() -> None:
    """Docker would create a missing folder, empty and owned by root."""
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_dir(), source
            else:
                assert source in COMPOSE["volumes"]


def test_containers_are_scraped_as_the_local_stack_is() -> None:
    """The two configurations of Prometheus differ in how targets are found, and in nothing else."""
    local, compose = (
        yaml.safe_load((ROOT / "prometheus" / name).read_text()) for name in ("prometheus.yml", "compose.yml")
    )
    ports = {}
    for job in (*local["scrape_configs"], *compose["scrape_configs"]):
        job.pop("file_sd_configs", None)
        for found in job.pop("dns_sd_configs", []):
            ports[found["names"][0]] = found["port"]
    assert local == compose
    assert ports == {name: int(port) for name, port in re.findall(r"'(\w+)': (\d+)", DOCKERFILE)}
