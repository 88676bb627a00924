"""Reads the totals and alerts topics into the board, from their start, like any other reader."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from fanpulse.board.model import AlertLine, Board
from schemas.topics import ALERTS, TOTALS, qualified
from services.runtime.kafka import (
    broker_unavailable,
    caught_up,
    make_consumer,
    partitions_of,
)
from services.runtime.settings import Settings

_POLL_MS = 100
_BATCH = 5_000


class Feed:
    """Keeps a board up to date while ``run`` runs. ``loaded`` is set once all earlier records are read."""

    def __init__(
        self, settings: Settings, board: Board, on_alert: Callable[[AlertLine], None] | None = None
    ) -> None:
        """``on_alert`` is called for each new alert once the feed has ``loaded``."""
        self.loaded = asyncio.Event()
        self._settings = settings
        self._board = board
        self._on_alert = on_alert
        self._totals = qualified(settings.namespace, TOTALS.name)
        self._alerts = qualified(settings.namespace, ALERTS.name)
        self._consumer: AIOKafkaConsumer
        self._awaited: list[tuple[dict[TopicPartition, int], asyncio.Event]] = []

    async def run(self) -> None:
        """Read until cancelled. If the broker goes away for a while, wait for it.

        Raises BrokerUnavailableError if the broker is away at the start, or if a topic does not exist.
        """
        self._consumer = consumer = make_consumer(
            self._settings, fetch_max_wait_ms=_POLL_MS, retry_backoff_ms=200
        )
        try:
            await consumer.start()
        except KafkaError as error:
            raise broker_unavailable(self._settings.kafka.bootstrap, error) from error
        try:
            partitions = [*await partitions_of(consumer, self._totals)]
            partitions += await partitions_of(consumer, self._alerts)
            consumer.assign(partitions)
            self._awaited.append((await consumer.end_offsets(partitions), self.loaded))
            while True:
                await self._poll(consumer)
        finally:
            # To stop cleanly needs the broker, which may be gone.
            with contextlib.suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(consumer.stop(), 5)

    async def read_to_end(self) -> None:
        """Return when all records that are in the topics now are read; only after ``loaded``.

        Raises KafkaError.
        """
        done = asyncio.Event()
        self._awaited.append((await self._consumer.end_offsets(self._consumer.assignment()), done))
        await done.wait()

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        try:
            batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
            reached = [each for each in self._awaited if await caught_up(consumer, each[0])]
        except KafkaError:
            await asyncio.sleep(_POLL_MS / 1000)  # the client reconnects by itself
            return
        for partition, records in batches.items():
            for record in records:
                if record.key is None:
                    continue
                if partition.topic == self._totals:
                    self._board.apply_total(record.partition, record.key, record.value, record.timestamp)
                else:
                    self._alert(record.key, record.value)
        for each in reached:
            self._awaited.remove(each)
            each[1].set()

    def _alert(self, key: bytes, value: bytes | None) -> None:
        line = self._board.apply_alert(key, value)
        if line is not None and self._on_alert is not None and self.loaded.is_set():
            self._on_alert(line)
