"""Brokers of the runs: with a short session, and, where they are victims, stopped and killed for several runs
at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fanpulse.devstack import kafka_config
from fanpulse.devstack.kafka import EmbeddedKafka
from tests.faults.plan import BROKER_STOP

OUTAGE_SECONDS = 20.0


class QuickBroker(EmbeddedKafka):
    """An embedded broker that lets members of a group be silent for a second only, not for six at least."""

    def _write_properties(self, name: str, ports: dict[str, int], data: str) -> None:
        properties = kafka_config.server_properties(ports["kafka"], ports["controller"], data)
        properties["group.min.session.timeout.ms"] = "1000"
        (self.folder / name).write_text(kafka_config.render(properties))


class SharedBroker:
    """A broker for several runs. A fault of the broker happens once all the runs on it have come that far."""

    def __init__(self, folder: Path, runs: int = 1) -> None:
        self._kafka = QuickBroker(folder)
        self._runs = runs
        self._waiting = 0
        self._kind = ""
        self._happened = asyncio.Event()

    @property
    def bootstrap(self) -> str:
        """host:port"""
        return self._kafka.bootstrap

    async def start(self) -> None:
        """Start it."""
        await self._kafka.start()

    async def stop(self) -> None:
        """End it."""
        await self._kafka.stop()

    async def strike(self, kind: str) -> None:
        """Wait for the other runs; the broker is stopped for 20 s, or killed, and started again."""
        self._kind = kind
        self._waiting += 1
        happened = self._happened
        await self._strike_if_all_wait()
        await happened.wait()

    async def leave(self) -> None:
        """A run is over, so the others need not wait for it."""
        self._runs -= 1
        await self._strike_if_all_wait()

    async def _strike_if_all_wait(self) -> None:
        if self._waiting == 0 or self._waiting < self._runs:
            return
        happened, self._happened, self._waiting = self._happened, asyncio.Event(), 0
        if self._kind == BROKER_STOP:
            await self._kafka.stop()
            await asyncio.sleep(OUTAGE_SECONDS)  # as long as the outage lasts
        else:
            await self._kafka.kill()
        await self._kafka.start()
        happened.set()
