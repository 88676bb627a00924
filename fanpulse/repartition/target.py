"""The new log: records as ingest packs them, each event in the partition of its key."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer

from schemas.codec import encode_clock
from schemas.events import Clock, subject_of
from schemas.log import Broadcast, Event, Reading
from schemas.topics import EVENTS, qualified
from services.aggregate.counting.dedup import Deduplicator, DedupWindow
from services.ingest.pipeline.packing import partition_of
from services.runtime.settings import Settings
from services.runtime.stream import StreamError

RECORD_EVENTS, RECORD_BYTES = 1000, 400_000
#: Records that may be on their way.
UNDER_WAY = 200


def key_of(event: Event) -> str:
    """What decides the partition of an event, as for ingest."""
    if isinstance(event, Reading):
        return f"{event.platform}/{subject_of(event.account, event.post_id, event.broadcast_id)}"
    return event.broadcast_id if isinstance(event, Broadcast) else event.event_id


@dataclass
class _Partition:
    """What waits for a partition, and the ids that the aggregator will know of it."""

    dedup: Deduplicator
    raws: list[bytes] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    size: int = 0
    timestamp_ms: int = 0
    records: int = 0


class NewLog:
    """Writes counted events to the log of a namespace. Call ``close_up`` at the end."""

    def __init__(
        self, settings: Settings, producer: AIOKafkaProducer, partitions: int, dedup_window: DedupWindow
    ) -> None:
        self._topic = qualified(settings.namespace, EVENTS.name)
        self._producer = producer
        self._partitions = [_Partition(Deduplicator(dedup_window)) for _ in range(partitions)]
        self._under_way: list[asyncio.Future[object]] = []
        self._stream_time_ms = 0
        self.events = 0

    async def add(self, event: Event, raw: bytes, timestamp_ms: int) -> None:
        """Append an event. Raises StreamError if it would be a duplicate in the new log."""
        number = partition_of(key_of(event), len(self._partitions))
        partition = self._partitions[number]
        if len(partition.raws) >= RECORD_EVENTS or partition.size + len(raw) > RECORD_BYTES:
            await self._flush(number)
        partition.raws.append(raw)
        partition.ids.append(event.event_id)
        partition.size += len(raw) + 1
        partition.timestamp_ms = timestamp_ms
        self.events += 1

    async def advance(self, stream_time_ms: int, timestamp_ms: int) -> None:
        """Stream time moves on, in every partition, after all that was added before."""
        if stream_time_ms <= self._stream_time_ms:
            return
        self._stream_time_ms = stream_time_ms
        clock = encode_clock(Clock(kind="clock", stream_time=stream_time_ms, source="event"))
        for number, partition in enumerate(self._partitions):
            await self._flush(number)
            partition.dedup.begin_record(partition.records)
            partition.dedup.advance(stream_time_ms)
            await self._send(number, b"[" + clock + b"]", timestamp_ms)

    async def close_up(self) -> None:
        """Write what waits, and wait until all is acknowledged."""
        for number in range(len(self._partitions)):
            await self._flush(number)
        await asyncio.gather(*self._under_way)
        self._under_way = []

    async def _flush(self, number: int) -> None:
        partition = self._partitions[number]
        if not partition.raws:
            return
        partition.dedup.begin_record(partition.records)
        if found := partition.dedup.duplicates(partition.ids):
            raise StreamError(
                f"event {partition.ids[min(found)]} counts twice in this stream, since the dedup window had "
                "passed in between, and would count once in the new one; choose a smaller "
                "aggregate.dedup_segment_events for the new stream, and another namespace"
            )
        await self._send(number, b"[" + b",".join(partition.raws) + b"]", partition.timestamp_ms)
        partition.raws, partition.ids, partition.size = [], [], 0

    async def _send(self, number: int, value: bytes, timestamp_ms: int) -> None:
        sent = await self._producer.send(self._topic, value, partition=number, timestamp_ms=timestamp_ms)
        self._under_way.append(sent)
        self._partitions[number].records += 1
        if len(self._under_way) >= UNDER_WAY:
            await asyncio.gather(*self._under_way)
            self._under_way = []
