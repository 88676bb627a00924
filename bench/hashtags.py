"""Many names: as many distinct hashtags as `--events` says, and a tenth as many accounts.

The real aggregator counts them while /metrics is scraped; then the totals topic must hold every key with
exactly the count that the generator kept for itself.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import worker
from bench.aggregate import counts_of
from bench.stream import ACTIONS, EVENTS_PER_RECORD, START_MS, Placed, clocks, write
from bench.usage import Usage, quantile
from fanpulse.devstack.kafka import EmbeddedKafka
from services.runtime.kafka import create_topics
from services.runtime.settings import KafkaSettings, Settings

SCRAPE_SECONDS = 0.5  # Prometheus scrapes far less often; this gives enough answers for a p99
AFTER_SCRAPES = 20
POPULAR = 1_000


@dataclass
class Generated:
    """Records, and what they add up to."""

    hashtags: int
    accounts: int
    partitions: int
    events: int = 0
    counts: dict[str, Counter[tuple[str, ...]]] = field(
        default_factory=lambda: {"accounts": Counter(), "hashtags": Counter()}
    )

    def records(self) -> Iterator[Placed]:
        """Two events per hashtag in total, each with that hashtag and a popular one."""
        draw = random.Random(5)
        total, made = 2 * self.hashtags, 0
        while self.events < total:
            count = min(EVENTS_PER_RECORD, total - self.events)
            now = START_MS + made * 5
            rows = [self._event(draw, self.events + index, now) for index in range(count)]
            yield made % self.partitions, b"[%b]" % b",".join(rows)
            self.events += count
            made += 1
            if made % (self.partitions * 50) == 0:
                yield from clocks(now, self.partitions)

    def _event(self, draw: random.Random, number: int, now: int) -> bytes:
        tag = f"tag{number % self.hashtags}"
        popular = f"tag{int(POPULAR * draw.random() ** 2)}"
        account, action = f"account{number * 7 % self.accounts}", draw.choice(ACTIONS)
        tags = (tag, popular) if tag != popular else (tag,)
        self.counts["accounts"]["twitter", account, action] += 1
        for each in tags:
            self.counts["hashtags"][each, action] += 1
        listed = '","'.join(tags)
        return (
            f'{{"kind":"interaction","v":1,"event_id":"twitter-{number:012d}","occurred_at":{now},'
            f'"action":"{action}","platform":"twitter","account":"{account}","post_id":"post-{number % 400}",'
            f'"hashtags":["{listed}"],"post_format":"video"}}'
        ).encode()


async def run(folder: Path, hashtags: int) -> dict[str, Any]:
    """Figures of one pass over a log with so many distinct hashtags."""
    async with EmbeddedKafka(folder / "kafka") as kafka:
        settings = Settings(namespace="hashtags", kafka=KafkaSettings(bootstrap=kafka.bootstrap))
        await create_topics(settings)
        made = Generated(hashtags, max(1, hashtags // 10), settings.kafka.partitions)
        await asyncio.to_thread(write, settings, made.records())
        with worker.running(settings, folder) as ours, Usage(ours.pid) as usage:
            figures = await asyncio.to_thread(_measure, ours, made.events)
        counts = counts_of(await worker.stored_totals(settings))
    for what, expected in made.counts.items():
        if counts[what] != expected:
            raise SystemExit(f"the totals of {what} are not those that were generated")
    return {
        "hashtags": len({name for name, _ in made.counts["hashtags"]}),
        "accounts": len({name for _, name, _ in made.counts["accounts"]}),
        "events": made.events,
        "totals_exact": True,
        **figures,
        "rss_mb": round(usage.peak_mb),
    }


def _measure(ours: worker.Worker, events: int) -> dict[str, Any]:
    scrapes = Scrapes(ours)
    started = time.perf_counter()
    with scrapes:
        worker.await_seen([ours], events, pause_seconds=2.0)
    seconds = time.perf_counter() - started
    after = [scrapes.once() for _ in range(AFTER_SCRAPES)]
    page = ours.page() or ""
    samples = [line for line in page.splitlines() if line and not line.startswith("#")]
    return {
        "events_per_s": round(events / seconds),
        "scrapes": len(scrapes.seconds),
        "scrape_p50_ms": round(quantile(scrapes.seconds, 0.5) * 1000),
        "scrape_p99_ms": round(quantile(scrapes.seconds, 0.99) * 1000),
        "scrape_max_ms": round(max(scrapes.seconds, default=0.0) * 1000),
        "idle_scrape_p50_ms": round(quantile(after, 0.5) * 1000),
        "idle_scrape_p99_ms": round(quantile(after, 0.99) * 1000),
        "series": len(samples),
        "page_bytes": len(page),
    }


class Scrapes:
    """Scrapes /metrics at fixed times in a thread of its own, and keeps how long each scrape took."""

    def __init__(self, ours: worker.Worker) -> None:
        self._ours = ours
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seconds: list[float] = []

    def once(self) -> float:
        """Seconds of one scrape."""
        started = time.perf_counter()
        self._ours.page()
        return time.perf_counter() - started

    def _run(self) -> None:
        while not self._stop.is_set() and not self._ours.ready():
            self._stop.wait(0.1)
        while not self._stop.is_set():
            took = self.once()
            self.seconds.append(took)
            self._stop.wait(max(0.0, SCRAPE_SECONDS - took))

    def __enter__(self) -> Scrapes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
