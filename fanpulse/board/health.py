"""How the services are, for the board's last line: asked of them once a second."""

from __future__ import annotations

import asyncio

from fanpulse.board.screen import Health
from fanpulse.devstack.overview import NOT_READY, READY, overview
from services.runtime.settings import Settings

_SECONDS = 1.0
_GROUPS = ("kafka", "ingest", "aggregate", "alerts", "prometheus", "grafana")
_STATES = {READY: "up", NOT_READY: "starting"}


class HealthWatch:
    """Asks while ``run`` runs; ``now`` is the last answer. Without a local stack it knows of nothing."""

    def __init__(self, settings: Settings) -> None:
        self.now: tuple[Health, ...] = ()
        self._settings = settings

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(_SECONDS)

    async def ask(self) -> None:
        """Ask once."""
        up, status = await overview(self._settings)
        found = []
        for group in _GROUPS if up else ():
            entries = status[group] if isinstance(status[group], list) else [status[group]]
            states = [_STATES.get(entry["health"], "down") for entry in entries if entry]
            # Between a death and the next start an entry may be missing.
            if states or isinstance(status[group], list):
                worst = min(states, key=("down", "starting", "up").index, default="down")
                found.append(Health(group if len(states) < 2 else f"{group} x{len(states)}", worst))
        self.now = tuple(found)
