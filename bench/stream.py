"""The log that benchmarks read: interactions of the Gansu matrix as ingest writes them under load."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import confluent_kafka

from schemas.topics import EVENTS, qualified
from services.runtime.kafka import create_topics
from services.runtime.settings import Settings

START_MS = 1_782_120_600_000
# What ingest writes when 16 connections post 500 events each without a pause: medians of 390 to 630 a record,
# and half of the events in records of 870 and more (`python -m bench.record_size`, two cores, two runs).
EVENTS_PER_RECORD = 500
POSTS = 400
POOL = 99_991  # draws made once and then repeated; a prime, so that the pools never align
ACCOUNTS = [
    ("twitter", "GansuTravel"), ("twitter", "GansuHeritage"), ("facebook", "VisitGansu"),
    ("facebook", "GansuCulture"), ("instagram", "visitgansu"), ("instagram", "gansu.heritage"),
]  # fmt: skip
TAGS = ["gansuheritage", "fuxiceremony", "linxiaapricot", "colorfulgansu", "tianshui", "silkroad"]
ACTIONS = ["like"] * 12 + ["comment"] * 3 + ["repost"] * 3 + ["follow", "share", "unlike"]
COUNTRIES = ["CN", "US", "GB", "FR", "DE", "JP", "KR", "TH", "MY", "SG", "AU", "CA", "BR", "EG", "KE"]

#: (partition, value) of a record
Placed = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Size:
    """What was written: records of events, and their bytes of JSON. Clock records are left out."""

    events: int
    records: int
    bytes: int

    def figures(self) -> dict[str, float]:
        """For the tables."""
        return {
            "events_per_record": round(self.events / self.records),
            "bytes_per_event": round(self.bytes / self.events),
        }


def records(events: int, partitions: int, posts: int = POSTS, seed: int = 1) -> Iterator[Placed]:
    """``events`` interactions in all, 2 % of them duplicates, with a clock record a second.

    With more than POSTS posts, every tenth event goes to the next post, so that each post gets events.
    """
    draw = random.Random(seed)
    rows = _rows(draw, posts)
    last: dict[int, list[bytes]] = {}
    made, written = 0, 0
    while made < events:
        partition, now = written % partitions, START_MS + written * 5
        count = min(EVENTS_PER_RECORD, events - made)
        some = [
            template % (number, now - before, action, actor, country)
            for number, (template, before, action, actor, country) in enumerate(islice(rows, count), made)
        ]
        for index in range(0, count, 50):  # ids seen before, in this partition
            if partition in last:
                some[index] = draw.choice(last[partition])
        last[partition] = some
        yield partition, b"[%b]" % b",".join(some)
        made += count
        written += 1
        if written % (partitions * 50) == 0:
            yield from clocks(now, partitions)
    yield from clocks(stream_time_at_end(events), partitions)


def stream_time_at_end(events: int) -> int:
    """Stream time in ms of the clock records at the end of a log of this many events."""
    return START_MS + -(-events // EVENTS_PER_RECORD) * 5


def clocks(stream_time_ms: int, partitions: int) -> Iterator[Placed]:
    """A clock record for each partition."""
    clock = json.dumps([{"kind": "clock", "v": 1, "stream_time": stream_time_ms, "source": "event"}]).encode()
    return ((partition, clock) for partition in range(partitions))


def _rows(draw: random.Random, posts: int) -> Iterator[tuple[bytes, int, bytes, int, bytes]]:
    """What is drawn for each event: template of its post, age in ms, action, actor, country; without end."""
    return zip(
        _posts(draw, posts),
        cycle([draw.randrange(2_000) for _ in range(POOL)]),
        cycle([draw.choice(ACTIONS).encode() for _ in range(POOL - 2)]),
        cycle([draw.getrandbits(128) for _ in range(POOL + 12)]),
        cycle([draw.choice(COUNTRIES).encode() for _ in range(POOL + 28)]),
        strict=False,
    )


def _posts(draw: random.Random, count: int) -> Iterator[bytes]:
    """Posts that people react to: a few take most of it, and each has its account, hashtags and format."""
    templates = [_template(draw, number) for number in range(count)]
    popular = cycle(draw.choices(templates, [1 / (rank + 1) for rank in range(count)], k=POOL))
    if count <= POSTS:
        yield from popular
    for template in cycle(templates):  # never where `records` puts a duplicate
        yield from islice(popular, 5)
        yield template
        yield from islice(popular, 4)


def _template(draw: random.Random, number: int) -> bytes:
    """An interaction with a post, open for number, time, action, actor and country."""
    platform, account = draw.choice(ACCOUNTS)
    about = {
        "post_id": f"post-{number}", "hashtags": draw.sample(TAGS, 2), "campaign": "fuxi-ceremony-2026",
        "post_format": draw.choice(["graphic", "link", "video", "live"]),
    }  # fmt: skip
    # The order of fields is that in which ingest writes them.
    head = f'{{"kind":"interaction","v":1,"event_id":"{platform}-%012d","occurred_at":%d,'
    named = f'"platform":"{platform}","account":"{account}","action":"%b",'
    rest = json.dumps(about, separators=(",", ":"))[1:-1] + ',"actor":{"id":"%032x","country":"%b"}}'
    return (head + named + rest).encode()


async def fill(settings: Settings, events: int, posts: int = POSTS) -> Size:
    """Create the topics of the namespace and write the log; what was written."""
    await create_topics(settings)
    return write(settings, records(events, settings.kafka.partitions, posts))


def write(settings: Settings, placed: Iterable[Placed]) -> Size:
    """Write records to engagement.events.v1, each in a batch of its own as ingest does."""
    topic = qualified(settings.namespace, EVENTS.name)
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": settings.kafka.bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "linger.ms": 0,
            "batch.num.messages": 1,
            "log_level": 2,  # a coordinator that is still loading is no news
        }
    )
    failed: list[object] = []

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failed.append(error)

    events, count, size = 0, 0, 0
    for partition, value in placed:
        while True:
            try:
                producer.produce(topic, value, partition=partition, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
        if found := value.count(b'"event_id"'):
            events, count, size = events + found, count + 1, size + len(value)
    if producer.flush(60) or failed:
        raise SystemExit(f"the log was not written: {failed[:1]}")
    return Size(events, count, size)
