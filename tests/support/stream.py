"""A seeded stream of log records, and a recount that shares no code with the aggregator."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from schemas.topics import EVENTS, TOTALS, qualified
from services.runtime.kafka import make_producer
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, read_topic

START_MS = 1_782_120_600_000  # 2026-06-22T09:30:00Z
Figures = Counter[tuple[Any, ...]]


def records(seed: int, count: int, events: int = 50, partitions: int = 4) -> Iterator[tuple[int, bytes]]:
    """Records as (partition, value): 5 % duplicates, late events, withdrawals, and clock records."""
    draw = random.Random(seed)
    sent: list[list[dict[str, Any]]] = [[] for _ in range(partitions)]
    for number in range(count):
        partition = draw.randrange(partitions)
        now = START_MS + number * 200
        batch = []
        for index in range(events):
            if sent[partition] and draw.random() < 0.05:
                batch.append(draw.choice(sent[partition][-2000:]))
                continue
            event = {
                "kind": "interaction",
                "v": 1,
                "event_id": f"{seed}-{number}-{index}",
                "occurred_at": now
                - (draw.randrange(600_000) if draw.random() < 0.1 else draw.randrange(1_000)),
                "platform": draw.choice(["twitter", "facebook", "instagram"]),
                "account": draw.choice(["GansuTravel", "VisitGansu", "gansu.heritage"]),
                "action": draw.choice(["like", "like", "like", "comment", "repost", "unlike"]),
                "hashtags": draw.sample(
                    ["gansuheritage", "fuxiceremony", "linxiaapricot"], draw.randrange(3)
                ),
            }
            sent[partition].append(event)
            batch.append(event)
        yield partition, json.dumps(batch).encode()
        if number % 5 == 0:
            clock = {"kind": "clock", "v": 1, "stream_time": now, "source": "event"}
            for each in range(partitions):
                yield each, json.dumps([clock]).encode()


async def produce(settings: Settings, stream: Iterable[tuple[int, bytes]]) -> None:
    """Write records to engagement.events.v1 and wait until all are acknowledged."""
    producer = make_producer(settings, linger_ms=5)
    await producer.start()
    try:
        topic = qualified(settings.namespace, EVENTS.name)
        for result in [await producer.send(topic, value, partition=p) for p, value in stream]:
            await result
    finally:
        await producer.stop()


def recount(log: list[Record]) -> Figures:
    """Totals per account and hashtag by the documented rule, for streams shorter than the dedup window."""
    figures: Figures = Counter()
    seen: set[tuple[int, str]] = set()
    for record in sorted(log, key=lambda record: (record.partition, record.offset)):
        for event in json.loads(record.value or b"[]"):
            name = (record.partition, event.get("event_id"))
            if event["kind"] != "interaction" or name in seen:
                continue
            seen.add(name)
            figures["account", event["platform"], event["account"], event["action"]] += 1
            for tag in event.get("hashtags", ()):
                figures["hashtag", tag, event["action"]] += 1
    return figures


async def expected(settings: Settings) -> Figures:
    """The totals of the log by a recount."""
    return recount(await read_topic(settings, qualified(settings.namespace, EVENTS.name)))


async def published(settings: Settings) -> Figures:
    """The totals of the committed entries in the totals topic."""
    latest = {}
    for record in await read_topic(settings, qualified(settings.namespace, TOTALS.name)):
        latest[record.partition, record.key] = record.value
    figures: Figures = Counter()
    for (_, key), value in latest.items():
        scope, *subject = json.loads(key or b"null")
        if scope in ("account", "hashtag") and value is not None:
            for action, count in json.loads(value)["actions"].items():
                figures[scope, *subject, action] += count
    return figures


async def checkpoints(settings: Settings) -> dict[int, dict[str, Any]]:
    """The checkpoint of each partition."""
    found = {}
    for record in await read_topic(settings, qualified(settings.namespace, TOTALS.name)):
        if record.key == b'["checkpoint"]' and record.value is not None:
            found[record.partition] = json.loads(record.value)
    return found


async def counted_all(settings: Settings) -> bool:
    """Whether the checkpoints are at the end of the log."""
    log = await read_topic(settings, qualified(settings.namespace, EVENTS.name))
    ends = {record.partition: record.offset for record in log}
    found = await checkpoints(settings)
    return all(found.get(p, {"offset": -1})["offset"] >= end for p, end in ends.items())
