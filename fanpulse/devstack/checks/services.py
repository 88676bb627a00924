"""Checks that the services of the stack are ready."""

from __future__ import annotations

from collections.abc import Iterator

from fanpulse.devstack.checks.finding import Finding, fail, ok
from fanpulse.devstack.overview import READY
from fanpulse.devstack.state import Status

_GROUPS = ("ingest", "aggregate", "alerts", "prometheus", "grafana")


def services(status: Status, *, up: bool) -> Iterator[Finding]:
    """Findings about the services of an overview. A stack that is not up is not a problem."""
    if not up:
        yield ok("stack", "is not up")
        return
    for group in _GROUPS:
        entries = status[group] if isinstance(status[group], list) else [status[group]]
        for entry in filter(None, entries):
            address = entry.get("url") or entry["metrics"]
            if entry["health"] == READY:
                yield ok(group, f"{address} is ready")
            else:
                advice = f"the stack restarts it if it does not recover; its log says more: {group}.log"
                yield fail(group, f"{address}: {entry['health']}", advice)
