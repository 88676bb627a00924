"""Group commit on a real broker: what is acknowledged is in the log, once and in order."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Consumer

from schemas.topics import EVENTS, POSTS, REJECTED, qualified
from services.ingest.kafka.byte_limiter import ByteLimiter
from services.ingest.kafka.producer import RecordProducer
from services.ingest.kafka.publisher import (
    OverloadedError,
    ProducerFailedError,
    Publisher,
    RecordTooLargeError,
    Topics,
)
from services.ingest.kafka.stream_clock import ClockWriter
from services.ingest.metrics import IngestMetrics
from services.ingest.pipeline.known_posts import PostRecord
from services.ingest.pipeline.packing import Fragment, RecordLimits
from services.ingest.pipeline.publish_request import PublishRequest
from services.ingest.pipeline.stream_time import EventStreamTime
from services.ingest.service import wall_ms
from services.runtime.kafka import create_topics
from services.runtime.metrics import NamespacedRegistry
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, read_topic

RECORD_LIMITS = RecordLimits(events=50, bytes=4000)


@asynccontextmanager
async def publishing(
    settings: Settings, *, byte_limiter: int = 10**7, record_limits: RecordLimits = RECORD_LIMITS
) -> AsyncIterator[Publisher]:
    names = (qualified(settings.namespace, topic.name) for topic in (EVENTS, POSTS, REJECTED))
    publisher = Publisher(
        partial(RecordProducer, settings),
        Topics(*names),
        record_limits=record_limits,
        byte_limiter=ByteLimiter(byte_limiter),
        ack_timeout_seconds=30,
        metrics=IngestMetrics(NamespacedRegistry()),
    )
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop(10)


async def read(settings: Settings, topic: Any = EVENTS) -> list[Record]:
    return await read_topic(settings, qualified(settings.namespace, topic.name))


def entries(records: list[Record]) -> list[tuple[int, Any]]:
    """(partition, entry) in the order of the log."""
    return [(record.partition, entry) for record in records for entry in json.loads(record.value or b"[]")]


async def test_everything_acknowledged_is_in_the_log_once_and_in_order(settings: Settings) -> None:
    """Under concurrency too: requests share records, which keep to their caps, and nothing else is there."""
    draw = random.Random(5)
    sent: list[list[int]] = [[] for _ in range(4)]
    number = made = 0

    async def client(publisher: Publisher, requests: int) -> None:
        nonlocal number, made
        for _ in range(requests):
            fragments = []
            for partition in draw.sample(range(4), draw.randint(1, 4)):
                numbers = range(number, number + draw.randint(1, 40))
                number = numbers.stop
                sent[partition] += numbers
                fragments.append(Fragment(partition, b",".join(b"%d" % n for n in numbers), len(numbers)))
            made += len(fragments)
            await publisher.submit(PublishRequest(fragments, dead_letters=[b"%d" % number]))

    async with publishing(settings) as publisher:
        await asyncio.gather(*(client(publisher, 40) for _ in range(30)))
        records = await read(settings)
        dead_letters = await read(settings, REJECTED)
    for partition in range(4):
        assert [entry for place, entry in entries(records) if place == partition] == sent[partition]
    assert len(dead_letters) == 30 * 40
    for record in records:
        assert record.value is not None
        assert len(record.value) <= RECORD_LIMITS.bytes
        assert len(json.loads(record.value)) <= RECORD_LIMITS.events
    assert len(records) < made * 0.75, "requests did not share records"


async def test_small_and_large_records_are_read_back_in_order(settings: Settings) -> None:
    """By librdkafka (and so kcat), which checks the checksums: compressible or not, byte for byte."""
    values = [b"%d" % n * n for n in range(1, 300)]
    async with publishing(settings) as publisher:
        await publisher.submit(PublishRequest(dead_letters=values))
        await publisher.submit(
            PublishRequest(dead_letters=[bytes([n % 256 for n in range(100)])])
        )  # does not compress
        await publisher.submit(PublishRequest(dead_letters=values))
    consumer = Consumer(
        {
            "bootstrap.servers": str(settings.kafka.bootstrap),
            "group.id": settings.namespace,
            "auto.offset.reset": "earliest",
            "check.crcs": True,
        }
    )
    try:
        consumer.subscribe([qualified(settings.namespace, REJECTED.name)])
        found: list[bytes | None] = []
        deadline = time.monotonic() + 30
        while len(found) < 2 * len(values) + 1:
            assert time.monotonic() < deadline, f"only {len(found)} came"
            messages = await asyncio.to_thread(consumer.consume, 500, 0.5)
            assert not any(message.error() for message in messages)
            found += [message.value() for message in messages]
    finally:
        consumer.close()
    assert found[: len(values)] == values
    assert found[-len(values) :] == values


async def test_a_request_larger_than_a_batch_is_acknowledged_as_a_whole(settings: Settings) -> None:
    """It takes several flushes; the acknowledgement comes after the last."""
    fragments = [Fragment(0, b'"%06d%s"' % (n, b"x" * 3000), 1) for n in range(1000)]
    async with publishing(settings) as publisher:
        await publisher.submit(PublishRequest(fragments))
        found = [entry for _, entry in entries(await read(settings))]
    assert [int(entry[:6]) for entry in found] == list(range(1000))


async def test_a_clock_record_comes_after_the_events_it_covers(settings: Settings) -> None:
    """In every partition: what was submitted before the record stands before it, later things after it."""
    stream_time = EventStreamTime(wall_ms, ahead_ms=1000)
    async with publishing(settings) as publisher:
        clock = ClockWriter(publisher, stream_time, interval_ms=50)
        await clock.write()  # stream time is not known yet
        for second in range(20):
            waiting = [
                publisher.submit(PublishRequest([Fragment(n % 4, b"%d" % second, 1)])) for n in range(40)
            ]
            stream_time.saw(second)
            await clock.write()
            await clock.write()  # stream time has not moved: nothing is written
            assert all(each.done() for each in waiting)
        log = entries(await read(settings))
    for partition in range(4):
        newest, clocks = -1, []
        for place, entry in log:
            if place != partition:
                continue
            if isinstance(entry, dict):
                assert entry["stream_time"] == newest
                clocks.append(entry["stream_time"])
            else:
                assert entry == len(clocks)
                newest = entry
        assert clocks == list(range(20))


async def test_posts_are_written_with_their_key(settings: Settings) -> None:
    """The topic is compacted by it."""
    async with publishing(settings) as publisher:
        await publisher.submit(
            PublishRequest(posts=[PostRecord(b'["x","1"]', b"{}"), PostRecord(b"k", b"v")])
        )
    assert [(each.key, each.value) for each in await read(settings, POSTS)] == [
        (b'["x","1"]', b"{}"), (b"k", b"v"),
    ]  # fmt: skip


async def test_what_waits_is_bounded(settings: Settings) -> None:
    """Over the bound nothing is taken in, until something is acknowledged."""
    async with publishing(settings, byte_limiter=1000) as publisher:
        waiting = [publisher.submit(PublishRequest(dead_letters=[b"x" * 400])) for _ in range(2)]
        with pytest.raises(OverloadedError):
            publisher.submit(PublishRequest(dead_letters=[b"x" * 400]))
        await asyncio.gather(*waiting)
        await publisher.submit(PublishRequest(dead_letters=[b"x" * 400]))
    assert len(await read(settings, REJECTED)) == 3


async def test_a_rejection_by_the_broker_is_fatal(settings: Settings) -> None:
    """The order of a partition would be lost: all that waits fails, and nothing more is accepted."""
    keyed = replace(REJECTED, compacted=True)  # takes no record without a key
    elsewhere = settings.model_copy(update={"namespace": f"{settings.namespace[:25]}-keyed"})
    await create_topics(elsewhere, [EVENTS, POSTS, keyed])
    async with publishing(elsewhere) as publisher:
        with pytest.raises(ProducerFailedError):
            await publisher.submit(PublishRequest(dead_letters=[b"a"]))
        assert publisher.failed.done()
        with pytest.raises(ProducerFailedError):
            publisher.submit(PublishRequest([Fragment(0, b"1", 1)]))


async def test_a_record_that_the_broker_rejects_for_its_size_fails_alone(settings: Settings) -> None:
    """All others are in the log, once and in order, also those that were joined with it; and it goes on."""
    small = replace(EVENTS, config={"max.message.bytes": "2000"})
    elsewhere = settings.model_copy(update={"namespace": f"{settings.namespace[:25]}-small"})
    await create_topics(elsewhere, [small, POSTS, REJECTED])
    draw = random.Random(1)
    limits = RecordLimits(events=1000, bytes=400_000)

    def fragment(*numbers: int, size: int = 200) -> Fragment:
        entries = [b'"%06d%s"' % (n, draw.randbytes(size).hex().encode()) for n in numbers]
        return Fragment(0, b",".join(entries), len(entries))

    async with publishing(elsewhere, record_limits=limits) as publisher:
        good = [publisher.submit(PublishRequest([fragment(n)])) for n in range(20)]
        large = publisher.submit(PublishRequest([fragment(20, size=5000)]))
        good.append(publisher.submit(PublishRequest([fragment(*range(21, 300))])))
        await asyncio.gather(*good)
        with pytest.raises(RecordTooLargeError, match=r"max\.message\.bytes"):
            await large
        await publisher.submit(PublishRequest([fragment(300)]))
        found = [int(entry[:6]) for _, entry in entries(await read(elsewhere))]
    assert found == [*range(20), *range(21, 301)]


async def test_the_brokers_time_of_a_record_is_known_once_it_is_acknowledged(settings: Settings) -> None:
    """It is the time that readers find in the log, whatever clock the sender has."""
    async with publishing(settings) as publisher:
        assert publisher.appended_ms == 0
        await publisher.submit_everywhere(b'{"kind":"clock","v":1,"stream_time":1,"source":"event"}')
        appended_ms = publisher.appended_ms
    times = {record.timestamp_ms for record in await read(settings)}
    assert appended_ms in times
