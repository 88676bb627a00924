"""Writes voids to the log, and waits until they are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from aiokafka.errors import KafkaError

from fanpulse.voids.search import Counting, FoundEvent, FoundVoid, Search
from schemas.topics import EVENTS, TOTALS, qualified
from schemas.totals import TotalsView
from services.aggregate.counting.dedup import DedupWindow
from services.runtime.kafka import broker_unavailable, make_producer
from services.runtime.settings import Settings
from services.runtime.topic_scan import Span, TopicReader

#: Kinds that can be voided. The next reading, and the last record of a phase, say what holds.
VOIDABLE = ("interaction", "post")
#: A record holds voids up to this size; the broker accepts a megabyte.
_RECORD_BYTES = 500_000


@dataclass
class Plan:
    """What is to be done about some ids."""

    events: list[FoundEvent] = field(default_factory=list)  # to void
    voided: list[tuple[FoundEvent, FoundVoid]] = field(default_factory=list)
    not_voidable: list[FoundEvent] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class FollowedTotals:
    """The totals of a namespace, read on each ``refresh``."""

    def __init__(self, settings: Settings, reader: TopicReader) -> None:
        self._topic = qualified(settings.namespace, TOTALS.name)
        self._reader = reader
        self._read: dict[int, int] = {}
        self.view = TotalsView()

    async def refresh(self) -> TotalsView:
        """Read what has been committed since. Raises BrokerUnavailableError."""
        spans = [
            Span(each.partition, max(each.begin, self._read.get(each.partition, 0)), each.end)
            for each in await self._reader.spans(self._topic)
        ]
        async for batch in self._reader.stream(self._topic, spans):
            for record in batch:
                with suppress(msgspec.MsgspecError):
                    self.view.apply(record.partition, record.key or b"", record.value)
        self._read = {each.partition: each.end for each in spans}
        return self.view


async def plan(settings: Settings, reader: TopicReader, view: TotalsView, ids: Sequence[str]) -> Plan:
    """Read the log, and find out which events with these ids count. Raises BrokerUnavailableError."""
    topic = qualified(settings.namespace, EVENTS.name)
    spans = await reader.spans(topic)
    search = Search(frozenset(ids))
    async for batch in reader.stream(topic, spans):
        for record in batch:
            search.take(record)
    counting = {
        partition: Counting(_dedup_window(settings, view, partition), search.ids)
        for partition in search.repeated
    }
    if counting:
        async for batch in reader.stream(topic, [each for each in spans if each.partition in counting]):
            for record in batch:
                counting[record.partition].take(record)
    found = Plan(unknown=sorted(search.ids - {each.event_id for each in search.events}))
    for event in search.events:
        partition = event.address[0]
        if partition in counting and event.address not in counting[partition].addresses:
            continue  # a duplicate: it has never counted
        if event.address in search.voids:
            found.voided.append((event, search.voids[event.address]))
        elif event.kind in VOIDABLE:
            found.events.append(event)
        else:
            found.not_voidable.append(event)
    return found


def _dedup_window(settings: Settings, view: TotalsView, partition: int) -> DedupWindow:
    checkpoint = view.checkpoints.get(partition)
    if checkpoint is not None:
        return DedupWindow(checkpoint.segment_events, checkpoint.segments, checkpoint.segment_ms)
    aggregate = settings.aggregate
    return DedupWindow(
        aggregate.dedup_segment_events, aggregate.dedup_segments, aggregate.dedup_segment_seconds * 1000
    )


async def write(
    settings: Settings, events: Sequence[FoundEvent], reason: str, by: str, voided_at_ms: int
) -> dict[int, int]:
    """Write a void of each event; the offset of the last one in each partition.

    Writing one twice is safe: it counts once. Raises BrokerUnavailableError.
    """
    topic, ends = qualified(settings.namespace, EVENTS.name), dict[int, int]()
    try:
        async with make_producer(settings) as producer:
            for partition, value in _records(events, reason, by, voided_at_ms):
                written = await producer.send_and_wait(topic, value, partition=partition)
                ends[partition] = written.offset
    except KafkaError as error:
        raise broker_unavailable(settings.kafka.bootstrap, error) from error
    return ends


def _records(
    events: Sequence[FoundEvent], reason: str, by: str, voided_at_ms: int
) -> Iterator[tuple[int, bytes]]:
    for partition in sorted({event.address[0] for event in events}):
        waiting, size = list[bytes](), 0
        for event in events:
            if event.address[0] != partition:
                continue
            waiting.append(encode_void(event, reason, by, voided_at_ms))
            size += len(waiting[-1])
            if size > _RECORD_BYTES:
                yield partition, b"[" + b",".join(waiting) + b"]"
                waiting, size = [], 0
        if waiting:
            yield partition, b"[" + b",".join(waiting) + b"]"


def encode_void(event: FoundEvent, reason: str, by: str, voided_at_ms: int) -> bytes:
    """The void of an event, as schemas.events.Void."""
    partition, offset, index = event.address
    return msgspec.json.encode(
        {
            "kind": "void",
            "v": 1,
            "event_id": event.void_id,
            "partition": partition,
            "offset": offset,
            "index": index,
            "event": msgspec.Raw(event.raw),
            "reason": reason,
            "by": by,
            "voided_at": voided_at_ms,
        }
    )


async def until_counted(totals: FollowedTotals, ends: dict[int, int], seconds: float) -> bool:
    """Wait until these offsets are counted; whether they are. Raises BrokerUnavailableError."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        checkpoints = (await totals.refresh()).checkpoints
        if all(p in checkpoints and checkpoints[p].offset >= offset for p, offset in ends.items()):
            return True
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.2)
