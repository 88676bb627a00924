"""Probes the services once a second, for the board's last line."""

from __future__ import annotations

import asyncio

from fanpulse.board.screen import Health
from fanpulse.devstack.overview import NOT_READY, READY, overview
from services.runtime.settings import Settings

_SECONDS = 1.0
_GROUPS = ("kafka", "ingest", "aggregate", "alerts", "prometheus", "grafana")
_STATES = {READY: "up", NOT_READY: "starting"}


class HealthWatch:
    """Probes the services while ``run`` runs. ``latest`` is the last result; empty without a local stack."""

    def __init__(self, settings: Settings) -> None:
        self.latest: tuple[Health, ...] = ()
        self._settings = settings

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await self.probe()
            await asyncio.sleep(_SECONDS)

    async def probe(self) -> None:
        """Probe once."""
        up, status = await overview(self._settings)
        found = []
        for group in _GROUPS if up else ():
            entries = status[group] if isinstance(status[group], list) else [status[group]]
            states = [_STATES.get(entry["health"], "down") for entry in entries if entry]
            # The entry of a dead service is missing until its restart.
            if states or isinstance(status[group], list):
                worst = min(states, key=("down", "starting", "up").index, default="down")
                found.append(Health(group if len(states) < 2 else f"{group} x{len(states)}", worst))
        self.latest = tuple(found)
