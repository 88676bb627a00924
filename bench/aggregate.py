"""Aggregator against the bare loop, in turn, over the same log; their counts must agree to the unit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from bench.stream import fill
from fanpulse.devstack.kafka import EmbeddedKafka
from fanpulse.devstack.ports import Ports
from schemas.topics import EVENTS, TOTALS, qualified
from schemas.totals import TotalsView
from services.aggregate.store import group_id
from services.runtime.reading import read_topic
from services.runtime.settings import KafkaSettings, Settings

TIMEOUT_SECONDS = 900.0


async def run(events: int, runs: int) -> dict[str, Any]:
    """Figures of ``runs`` runs over a log of ``events`` events: medians, and the ratio."""
    with tempfile.TemporaryDirectory(prefix="fanpulse-bench-") as folder:
        async with EmbeddedKafka(Path(folder)) as kafka:
            source = Settings(namespace="bench", kafka=KafkaSettings(bootstrap=kafka.bootstrap))
            await fill(source, events)
            ours, bare, memory, cpu = [], [], [], []
            for _ in range(runs):
                bare_run = await asyncio.to_thread(_bare_loop, source, events)
                our_run = await _aggregate(source, events, Path(folder))
                if our_run["figures"] != bare_run["figures"]:
                    raise SystemExit("the counts of the aggregator and of the bare loop differ")
                bare.append(events / bare_run["seconds"])
                ours.append(events / our_run["seconds"])
                memory.append(our_run["rss_mb"])
                cpu.append(our_run["cpu_seconds"] / events * 1e6)
                print(f"  run: ours {ours[-1]:,.0f}/s, bare loop {bare[-1]:,.0f}/s", flush=True)
    return {
        "events": events,
        "ours_per_s": round(statistics.median(ours)),
        "bare_loop_per_s": round(statistics.median(bare)),
        "ratio_bare": round(statistics.median(a / b for a, b in zip(ours, bare, strict=True)), 3),
        "rss_mb": round(statistics.median(memory)),
        "cpu_seconds_per_million": round(statistics.median(cpu), 2),
    }


def _bare_loop(settings: Settings, events: int) -> dict[str, Any]:
    topic = qualified(settings.namespace, EVENTS.name)
    command = [sys.executable, "-m", "bench.bare_loop", str(settings.kafka.bootstrap), topic]
    command += [str(settings.kafka.partitions), str(events)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


async def _aggregate(settings: Settings, events: int, folder: Path) -> dict[str, Any]:
    """One run of the real service from an empty state."""
    await asyncio.to_thread(_forget, settings)
    port = Ports(folder / "ports.json").choose("aggregate")["aggregate"]
    environment = os.environ | {
        "FANPULSE_KAFKA_BOOTSTRAP": str(settings.kafka.bootstrap),
        "FANPULSE_NAMESPACE": settings.namespace,
        "FANPULSE_STATE_DIR": str(folder),
        "FANPULSE_AGGREGATE_METRICS_PORT": str(port),
    }
    with (folder / "aggregate.log").open("ab") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "fanpulse", "aggregate"], env=environment, stderr=log, stdout=log
        )
    try:
        seconds = await asyncio.to_thread(_watch, f"http://127.0.0.1:{port}", events)
        usage = process.cpu_times()
        memory = process.memory_info().rss
    finally:
        process.terminate()
        process.wait(30)
    view = TotalsView()
    for record in await read_topic(settings, qualified(settings.namespace, TOTALS.name)):
        view.apply(record.partition, record.key or b"", record.value)
    return {
        "seconds": seconds,
        "figures": _figures(view),
        "rss_mb": memory / 2**20,
        "cpu_seconds": usage.user + usage.system,
    }


def _watch(url: str, events: int) -> float:
    """Seconds from the moment that the worker owns its partitions until it has met all events.

    /metrics is asked twice a second, so as not to be a load itself; the end is placed between two answers by
    the rate before.
    """
    points: list[tuple[float, float]] = []
    deadline = time.perf_counter() + TIMEOUT_SECONDS
    while time.perf_counter() < deadline:
        time.sleep(0.5 if points else 0.02)
        met = _met(url)
        if met is None:
            continue
        points.append((time.perf_counter(), met))
        if met >= events:
            (then, before), (first, start) = points[-2], points[0]
            rate = (before - start) / (then - first) if then > first else 0.0
            end = min(points[-1][0], then + (events - before) / rate) if rate else points[-1][0]
            return end - first
    raise SystemExit("the aggregator did not count all events in time")


def _met(url: str) -> float | None:
    """Events met so far, duplicates included; None while the worker is not ready."""
    names = ("fanpulse_events_counted_total", "fanpulse_duplicate_events_total")
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310
            pass
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(names))


def _figures(view: TotalsView) -> dict[str, Any]:
    return {
        scope + "s": sorted(
            [*key[1:], action, n] for key in view.keys(scope) for action, n in view.actions(key).items()
        )
        for scope in ("account", "hashtag")
    }


def _forget(settings: Settings) -> None:
    """Remove the totals and the group, so that the next worker begins at the start."""
    admin = AdminClient({"bootstrap.servers": str(settings.kafka.bootstrap)})
    topic = qualified(settings.namespace, TOTALS.name)
    for future in admin.delete_topics([topic]).values():
        future.result()
    for future in admin.delete_consumer_groups([group_id(settings)]).values():
        with contextlib.suppress(KafkaException):  # there is no group before the first run
            future.result()
    while topic in admin.list_topics(timeout=10).topics:  # the broker deletes in its own time
        time.sleep(0.1)
