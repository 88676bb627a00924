"""Two workers against one on the same log: events a second while all of them own partitions.

The rate leaves out what is counted before the group has settled, so the log must be long enough to leave
a good part of it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import worker
from bench.stream import fill
from bench.usage import Usage
from fanpulse.devstack.kafka import EmbeddedKafka
from services.runtime.settings import KafkaSettings, Settings

POLL_SECONDS = 0.25
LEAST_SHARE = 0.3  # of the log must be left when the group has settled


async def run(folder: Path, events: int, runs: int) -> dict[str, Any]:
    """Median rates of one worker and of two."""
    async with EmbeddedKafka(folder / "kafka") as kafka:
        settings = Settings(namespace="workers", kafka=KafkaSettings(bootstrap=kafka.bootstrap))
        await fill(settings, events)
        rows: list[dict[str, float]] = []
        for number in range(runs):
            one = await asyncio.to_thread(_rate, settings, folder, events, 1)
            two = await asyncio.to_thread(_rate, settings, folder, events, 2)
            rows.append({"one_per_s": one[0], "two_per_s": two[0], "ratio": two[0] / one[0],
                         "one_rss_mb": one[1], "two_rss_mb": two[1]})  # fmt: skip
            print(f"  run {number + 1}: one worker {one[0]:,.0f}/s, two {two[0]:,.0f}/s", flush=True)
    return {
        "events": events,
        "runs": runs,
        **{name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]},
    }


def _rate(settings: Settings, folder: Path, events: int, count: int) -> tuple[float, float]:
    """Events a second of so many workers together, and their peak memory together in MiB."""
    worker.forget(settings)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(worker.running(settings, folder, f"worker-{number}"))
            for number in range(count)
        ]
        usages = [stack.enter_context(Usage(each.pid)) for each in workers]
        began, before = _settled(workers, settings.kafka.partitions)
        if before > events * (1 - LEAST_SHARE):
            raise SystemExit(
                f"{before:,.0f} of {events:,} events were counted before {count} workers had their "
                "partitions; take more events"
            )
        worker.await_seen(workers, events, POLL_SECONDS)
        seconds = time.perf_counter() - began
        return (events - before) / seconds, sum(usage.peak_mb for usage in usages)


def _settled(workers: list[worker.Worker], partitions: int) -> tuple[float, float]:
    """(time, events seen) when every worker owns its share of the partitions."""
    share = partitions // len(workers)
    end = time.perf_counter() + worker.TIMEOUT_SECONDS
    while time.perf_counter() < end:
        pages = [(each.page() or "") if each.ready() else "" for each in workers]
        if all(page.count("\nfanpulse_aggregate_offset{") == share for page in pages):
            return time.perf_counter(), sum(map(worker.seen, pages))
        time.sleep(POLL_SECONDS)
    raise SystemExit("the workers did not share the partitions")
