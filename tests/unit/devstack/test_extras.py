"""How to install an extra: into the environment that runs, from where fanpulse came from."""

from __future__ import annotations

import json
import sys
import tomllib
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest

from fanpulse.devstack.extras import EXTRAS, install_command, modules_of

ROOT = Path(__file__).parents[3]
HERE = Path(__file__)


@pytest.mark.parametrize(
    ("noted", "what"),
    [
        (None, "'FOLDER/fanpulse-"),
        (
            {"url": "file:///gone/f.whl", "archive_info": {}},
            "'FOLDER/f.whl[audit]', where FOLDER has that wheel",
        ),
        ({"url": "https://mirror/f.whl", "archive_info": {}}, "'fanpulse[audit] @ https://mirror/f.whl'"),
        ({"url": HERE.as_uri(), "archive_info": {}}, f"'fanpulse[audit] @ {HERE.as_uri()}'"),
        ({"url": "file:///src", "dir_info": {}}, "'/src[audit]'"),
        ({"url": "file:///src", "dir_info": {"editable": True}}, "-e '/src[audit]'"),
    ],
)
def test_the_source_is_that_of_the_installation(
    noted: dict[str, Any] | None, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel or a folder is named if it is there. fanpulse is on no index, so none is ever named."""
    monkeypatch.setattr(
        PathDistribution, "read_text", lambda self, name: None if noted is None else json.dumps(noted)
    )
    assert install_command("audit").startswith(f"{sys.executable} -m pip install {what}")


def test_pipx_installs_into_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environments are not for calling pip in by hand."""
    monkeypatch.setattr(sys, "prefix", "/opt/pipx/venvs/fanpulse")
    assert install_command("stack").startswith("pipx runpip fanpulse install ")


def test_every_extra_is_known_by_a_module() -> None:
    """Of pyproject.toml's extras, all but `all`; base dependencies belong to none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {*EXTRAS, "all"} == set(project["optional-dependencies"])
    base = {line.split(">")[0].replace("-", "_") for line in project["dependencies"]}
    assert not base & {module for extra in EXTRAS for module in modules_of(extra)}
