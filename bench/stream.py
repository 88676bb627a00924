"""The log that benchmarks read: interactions of the Gansu matrix as ingest writes them under load."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator

from schemas.topics import EVENTS, qualified
from services.runtime.kafka import create_topics, make_producer
from services.runtime.settings import Settings

START_MS = 1_782_120_600_000
EVENTS_PER_RECORD = 500  # what a partition gets of each flush when posts of 500 come in from 16 connections
ACCOUNTS = [
    ("twitter", "GansuTravel"), ("twitter", "GansuHeritage"), ("facebook", "VisitGansu"),
    ("facebook", "GansuCulture"), ("instagram", "visitgansu"), ("instagram", "gansu.heritage"),
]  # fmt: skip
TAGS = ["gansuheritage", "fuxiceremony", "linxiaapricot", "colorfulgansu", "tianshui", "silkroad"]
ACTIONS = ["like"] * 12 + ["comment"] * 3 + ["repost"] * 3 + ["follow", "share", "unlike"]
COUNTRIES = ["CN", "US", "GB", "FR", "DE", "JP", "KR", "TH", "MY", "SG", "AU", "CA", "BR", "EG", "KE"]


def records(events: int, partitions: int, seed: int = 1) -> Iterator[tuple[int, bytes]]:
    """(partition, value): ``events`` interactions in all, 2 % of them duplicates, a clock record a second."""
    draw = random.Random(seed)
    made, turn = 0, 0
    last: dict[int, list[str]] = {}
    while made < events:
        partition, now = turn % partitions, START_MS + turn * 5
        count = min(EVENTS_PER_RECORD, events - made)
        rows = [_event(draw, now, made + index) for index in range(count)]
        for index in range(0, count, 50):  # ids met before, in this partition
            if partition in last:
                rows[index] = draw.choice(last[partition])
        last[partition] = rows
        yield partition, f"[{','.join(rows)}]".encode()
        made += count
        turn += 1
        if turn % (partitions * 50) == 0:
            clock = json.dumps([{"kind": "clock", "v": 1, "present": now, "source": "event"}]).encode()
            yield from ((each, clock) for each in range(partitions))


def _event(draw: random.Random, now: int, number: int) -> str:
    platform, account = draw.choice(ACCOUNTS)
    event = {
        "kind": "interaction", "v": 1, "event_id": f"{platform}-{number:012d}",
        "occurred_at": now - draw.randrange(2_000), "platform": platform, "account": account,
        "action": draw.choice(ACTIONS), "post_id": f"post-{draw.randrange(400)}",
        "hashtags": draw.sample(TAGS, 2), "campaign": "fuxi-ceremony-2026", "post_format": "video",
        "actor": {"id": f"{draw.getrandbits(128):032x}", "country": draw.choice(COUNTRIES)},
    }  # fmt: skip
    return json.dumps(event, separators=(",", ":"))


async def fill(settings: Settings, events: int) -> None:
    """Create the topics of the namespace and write the log."""
    await create_topics(settings)
    producer = make_producer(settings, linger_ms=2, max_request_size=2**20)
    await producer.start()
    try:
        topic, window = qualified(settings.namespace, EVENTS.name), []
        for partition, value in records(events, settings.kafka.partitions):
            window.append(await producer.send(topic, value, partition=partition))
            if len(window) > 200:
                await asyncio.gather(*window)
                window.clear()
        await asyncio.gather(*window)
    finally:
        await producer.stop()
