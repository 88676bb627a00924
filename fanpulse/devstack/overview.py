"""The status of a stack with the health of each part, probed now."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from fanpulse.devstack import state
from fanpulse.devstack.disk import free_bytes
from fanpulse.devstack.kafka import takes_requests
from fanpulse.devstack.state import Status
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.settings import Settings
from services.supervise.probes import http_status

READY = "ready"
NOT_READY = "not ready"
SILENT = "no answer"
_READY_PATHS = {"prometheus": "/-/ready", "grafana": "/api/health"}


async def overview(settings: Settings) -> tuple[bool, Status]:
    """Whether a stack is up, and its status with a ``health`` in every entry, the space that its state folder
    has, and all namespaces whose stacks run."""
    status = state.read(StatePaths.of(settings))
    up = status is not None
    status = status or state.nothing_runs(settings.namespace, settings.kafka.bootstrap)
    folder = settings.state_dir.absolute()
    status["state_folder"] = {"path": str(folder), "free_bytes": free_bytes(folder)}
    status["running"] = state.running(folder)
    await asyncio.gather(
        _add_broker_health(status["kafka"], settings),
        *(_add_health(group, entry) for group, entry in _entries(status)),
    )
    return up, status


def _entries(status: Status) -> list[tuple[str, dict[str, Any]]]:
    """Every part that answers HTTP."""
    lists = [(group, entry) for group in ("ingest", "aggregate", "alerts") for entry in status[group]]
    return lists + [(group, status[group]) for group in ("prometheus", "grafana") if status[group]]


async def _add_health(group: str, entry: dict[str, Any]) -> None:
    parts = urlsplit(entry.get("url") or entry["metrics"])
    answer = await http_status(f"{parts.scheme}://{parts.netloc}{_READY_PATHS.get(group, '/readyz')}")
    entry["health"] = SILENT if answer is None else READY if answer == 200 else NOT_READY


async def _add_broker_health(entry: dict[str, Any], settings: Settings) -> None:
    bootstrap = entry["bootstrap"]
    if bootstrap is None:
        entry["health"] = SILENT
        return
    kafka = settings.kafka.model_copy(update={"bootstrap": bootstrap})
    entry["health"] = READY if await takes_requests(kafka) else SILENT
