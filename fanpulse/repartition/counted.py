"""The events of a log that count, in order of stream time over all partitions."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import msgspec

from schemas.fields import LATEST_MS
from schemas.log import Clock, Entry, Event, Void
from schemas.topics import EVENTS, qualified
from services.aggregate.counting.decode import decode_record
from services.aggregate.counting.dedup import Deduplicator, DedupWindow
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, Span, open_reader

#: Where an event is: the offset of its record, and its id.
EventPlace = tuple[int, str]

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Counted(NamedTuple):
    """An event that counts, as it is in the log; or, without ``event``, that stream time moves on.

    ``stream_time_ms`` is that of its partition when the event came; 0 before the first clock record.
    """

    stream_time_ms: int
    timestamp_ms: int
    event: Event | None = None
    raw: bytes = b""


def entries_of(data: bytes | None) -> Iterator[tuple[Entry, bytes]]:
    """The entries of a record that are entries, each with its bytes."""
    good, bad = decode_record(data)
    if not good or data is None:
        return
    if data.lstrip()[:1] != b"[":
        yield good[0], data
        return
    rejected = {each.index for each in bad}
    raws = [bytes(raw) for index, raw in enumerate(_split(data)) if index not in rejected]
    yield from zip(good, raws, strict=True)


def voided_by(partition: int, offset: int, data: bytes | None) -> set[EventPlace]:
    """The events that voids in a record take back."""
    if b'"void' not in (data or b""):
        return set()
    return {
        (entry.offset, entry.event.event_id)
        for entry, _ in entries_of(data)
        if isinstance(entry, Void) and entry.partition == partition and entry.offset < offset
    }


async def voided_in(settings: Settings, span: Span) -> set[EventPlace]:
    """The events of a span that voids in it take back. Raises BrokerUnavailableError."""
    found, topic = set[EventPlace](), qualified(settings.namespace, EVENTS.name)
    async with open_reader(settings) as reader:
        await reader.spans(topic)
        async for batch in reader.stream(topic, [span]):
            for record in batch:
                found |= voided_by(record.partition, record.offset, record.value)
    return found


class CountedEvents:
    """Finds what counts in one partition, by the rule of duplicates. Feed it the records in order."""

    def __init__(
        self, dedup_window: DedupWindow, voided: Collection[EventPlace] = (), now_ms: int = LATEST_MS
    ) -> None:
        """``voided``: what voids further on take back (``voided_in``); it is left out. ``now_ms``: clock
        records of a later time are left out too; they move what is a duplicate, and no more."""
        self._dedup = Deduplicator(dedup_window)
        self._voided = voided
        self._now_ms = now_ms
        self._obeyed_ms = 0
        self._stream_time_ms = 0
        self.counted = 0
        self.clocks_left_out = 0

    def take(self, offset: int, timestamp_ms: int, data: bytes | None) -> Iterator[Counted]:
        """What the next record adds."""
        self._dedup.begin_record(offset)
        events: list[tuple[Event | Void, bytes]] = []
        for entry, raw in entries_of(data):
            if not isinstance(entry, Clock):
                events.append((entry, raw))
                continue
            if entry.is_ahead_of(timestamp_ms):
                continue  # the aggregator did not obey it
            yield from self._counted(events, offset, timestamp_ms)
            events = []
            if entry.stream_time > self._obeyed_ms:
                self._obeyed_ms = entry.stream_time
                self._dedup.advance(entry.stream_time)
            if entry.stream_time > self._now_ms:
                self.clocks_left_out += 1
            elif entry.stream_time > self._stream_time_ms:
                self._stream_time_ms = entry.stream_time
                yield Counted(entry.stream_time, timestamp_ms)
        yield from self._counted(events, offset, timestamp_ms)

    def _counted(
        self, events: list[tuple[Event | Void, bytes]], offset: int, timestamp_ms: int
    ) -> Iterator[Counted]:
        if not events:
            return
        duplicates = self._dedup.duplicates([event.event_id for event, _ in events])
        for index, (event, raw) in enumerate(events):
            if index in duplicates or isinstance(event, Void):
                continue
            self.counted += 1
            if (offset, event.event_id) not in self._voided:
                yield Counted(self._stream_time_ms, timestamp_ms, event, raw)


async def in_order(
    settings: Settings, spans: list[Span], partitions: dict[int, CountedEvents]
) -> AsyncIterator[Counted]:
    """What counts in these spans of the log. Each event comes while stream time is what it was when the event
    came to its own partition; within a partition the order stays.

    Raises BrokerUnavailableError.
    """
    topic = qualified(settings.namespace, EVENTS.name)
    async with AsyncExitStack() as stack:
        sources: dict[int, AsyncIterator[Counted]] = {}
        for span in spans:
            reader = await stack.enter_async_context(open_reader(settings))
            await reader.spans(topic)
            sources[span.partition] = _one(reader.stream(topic, [span]), partitions[span.partition])
        async for found in merged(sources):
            yield found


async def merged(sources: dict[int, AsyncIterator[Counted]]) -> AsyncIterator[Counted]:
    """What several partitions have, by stream time."""
    heads: list[tuple[int, int, Counted]] = []
    for partition in sources:
        await _push(heads, sources, partition)
    while heads:
        _, partition, found = heapq.heappop(heads)
        yield found
        await _push(heads, sources, partition)


async def _push(
    heads: list[tuple[int, int, Counted]], sources: dict[int, AsyncIterator[Counted]], partition: int
) -> None:
    found = await anext(sources[partition], None)
    if found is not None:
        heapq.heappush(heads, (found.stream_time_ms, partition, found))


async def _one(batches: AsyncIterator[list[Record]], counted: CountedEvents) -> AsyncIterator[Counted]:
    async for batch in batches:
        for record in batch:
            for found in counted.take(record.offset, record.timestamp_ms, record.value):
                yield found
