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
    posts = Posts(draw)
    made, turn = 0, 0
    last: dict[int, list[str]] = {}
    while made < events:
        partition, now = turn % partitions, START_MS + turn * 5
        count = min(EVENTS_PER_RECORD, events - made)
        rows = [_event(draw, post, now, made + index) for index, post in enumerate(posts.take(count))]
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


class Posts:
    """Posts that people react to: a few take most of it, and each has its account, hashtags and format."""

    def __init__(self, draw: random.Random, count: int = 400) -> None:
        self._draw = draw
        self._posts = [
            {
                "platform": platform, "account": account, "post_id": f"post-{number}",
                "hashtags": draw.sample(TAGS, 2), "campaign": "fuxi-ceremony-2026",
                "post_format": draw.choice(["graphic", "link", "video", "live"]),
            }
            for number in range(count)
            for platform, account in [draw.choice(ACCOUNTS)]
        ]  # fmt: skip
        self._weights = [1 / (rank + 1) for rank in range(count)]

    def take(self, count: int) -> list[dict[str, object]]:
        """Posts, by their share of the reactions."""
        return self._draw.choices(self._posts, self._weights, k=count)


def _event(draw: random.Random, post: dict[str, object], now: int, number: int) -> str:
    event = {
        "kind": "interaction", "v": 1, "event_id": f"{post['platform']}-{number:012d}",
        "occurred_at": now - draw.randrange(2_000), "action": draw.choice(ACTIONS), **post,
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
