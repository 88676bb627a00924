"""The embedded broker as a managed process of the stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fanpulse.devstack.kafka import EmbeddedKafka, KafkaStartError
from services.supervise.child import Child
from services.supervise.managed_process import ManagedProcess, ProcessError
from services.supervise.probes import kafka_answers


class KafkaProcess(ManagedProcess):
    """The embedded broker."""

    name = "kafka"
    group = "kafka"

    def __init__(self, broker: EmbeddedKafka) -> None:
        self.broker = broker

    @property
    def child(self) -> Child | None:
        return self.broker.child

    @property
    def log(self) -> Path:
        return self.broker.log

    async def launch(self) -> None:
        try:
            await self.broker.start()
        except KafkaStartError as error:
            raise ProcessError(self.name, str(error)) from error

    async def ready(self) -> bool:
        return await self.healthy()  # launch returns only when the broker is ready

    async def healthy(self) -> bool:
        return await kafka_answers(self.broker.bootstrap)

    async def stop(self) -> None:
        await self.broker.stop()

    async def kill(self) -> None:
        await self.broker.kill()

    def describe(self) -> dict[str, Any]:
        return {"bootstrap": self.broker.address}

    @property
    def address(self) -> str:
        return self.broker.address or ""
