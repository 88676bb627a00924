"""How fresh figures are: from the POST of an event until /metrics, and the totals topic, show it.

The real ingest and the real aggregator, under a steady load. About ten times a second an event of an account
that nothing else touches is posted. The k-th probe is shown when the figure of that account has reached k:
probes are identified by their order, which is exact unless two of them overtake each other on the way.
/metrics is polled every POLL_SECONDS, or less often where the worker would spend more than POLL_SHARE of its
time on it; the time between two polls is the resolution of that figure, and the arrival of the answer counts.
A consumer of committed records reads the totals topic.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import confluent_kafka

from bench import http_load, worker
from bench.events import posts
from bench.ingest import service
from bench.usage import quantile
from fanpulse.devstack.kafka import EmbeddedKafka
from schemas.topics import TOTALS, qualified
from schemas.totals import TotalsView
from services.runtime.kafka import create_topics
from services.runtime.settings import AggregateSettings, KafkaSettings, Settings

PROBE = ("twitter", "FreshnessProbe")
PROBE_SECONDS = 0.1
POLL_SECONDS = 0.05
POLL_SHARE = 0.2
SETTLE_SECONDS = 3.0  # of load before the first probe
SHOWN_SECONDS = 30.0  # a probe that is not shown by then ends the benchmark
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one size at a steady rate."""

    batch: int
    requests_per_s: float
    connections: int


#: Events a second in total -> the streams that add up to it.
LOADS = {
    2_000: (Stream(1, 1_000, 16), Stream(10, 100, 4)),
    20_000: (Stream(100, 200, 8),),
}


@dataclass
class Probes:
    """When each probe was posted, and when figures first showed that so many had been counted."""

    posted: list[float] = field(default_factory=list)
    acknowledged: list[float] = field(default_factory=list)
    on_metrics: list[float] = field(default_factory=list)
    in_totals: list[float] = field(default_factory=list)
    polls: int = 0  # at /metrics

    def seen(self, where: list[float], count: int) -> None:
        """A figure shows ``count`` probes now."""
        now = time.perf_counter()
        where.extend([now] * (count - len(where)))

    def delays_ms(self, where: list[float]) -> list[float]:
        """From the POST of each probe."""
        return [(shown - sent) * 1000 for sent, shown in zip(self.posted, where, strict=False)]


async def run(folder: Path, seconds: float, loads: list[int] | None = None) -> dict[str, Any]:
    """p50 and p99 in ms at each load of LOADS, each sustained for this many seconds."""
    found = {}
    async with EmbeddedKafka(folder / "kafka") as kafka:
        for rate in loads or list(LOADS):
            settings = Settings(
                namespace=f"fresh-{rate}",
                state_dir=folder,
                kafka=KafkaSettings(bootstrap=kafka.bootstrap),
                aggregate=AggregateSettings(tracked_accounts=(":".join(PROBE),)),
            )
            await create_topics(settings)
            found[f"at_{rate}"] = await asyncio.to_thread(_measure, settings, folder, LOADS[rate], seconds)
            print(f"  {rate:,} events/s: {found[f'at_{rate}']}", flush=True)
    return {"seconds": seconds, **found}


def _measure(settings: Settings, folder: Path, streams: tuple[Stream, ...], seconds: float) -> dict[str, Any]:
    probes, load_seconds = Probes(), SETTLE_SECONDS + seconds
    with service(settings) as (port, _), worker.running(settings, folder) as ours:
        post(port, posts())
        while not ours.ready():
            time.sleep(0.1)
        with _load(port, streams, load_seconds) as sent:
            time.sleep(SETTLE_SECONDS)
            with _watching(settings, ours, probes):
                began = time.perf_counter()
                _send(port, probes, seconds)
                _await_shown(probes)
                watched = time.perf_counter() - began
        events = sum(sent.get(timeout=10) for _ in streams)
    return {
        "events_per_s": round(events / load_seconds),
        "probes": len(probes.posted),
        "metrics_poll_ms": round(watched / max(1, probes.polls) * 1000),
        **_quantiles("acknowledged", [each * 1000 for each in probes.acknowledged]),
        **_quantiles("metrics", probes.delays_ms(probes.on_metrics)),
        **_quantiles("totals", probes.delays_ms(probes.in_totals)),
    }


def _quantiles(name: str, values_ms: list[float]) -> dict[str, float]:
    return {f"{name}_{label}_ms": round(quantile(values_ms, share)) for label, share in _SHARES.items()}


_SHARES = {"p50": 0.5, "p99": 0.99}


def _send(port: int, probes: Probes, seconds: float) -> None:
    """Post probes at fixed times, one at a time: a slow one delays the next."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    start = time.perf_counter()
    for number in range(int(seconds / PROBE_SECONDS)):
        time.sleep(max(0.0, start + number * PROBE_SECONDS - time.perf_counter()))
        event = {
            "kind": "interaction", "event_id": f"probe-{number}", "action": "like", "platform": PROBE[0],
            "account": PROBE[1], "post_id": "probe", "occurred_at": time.time_ns() // 1_000_000,
        }  # fmt: skip
        probes.posted.append(time.perf_counter())
        connection.request("POST", "/v1/events", json.dumps(event), {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 202:
            raise SystemExit(f"a probe was answered {answer.status}")
        probes.acknowledged.append(time.perf_counter() - probes.posted[-1])
    connection.close()


def _await_shown(probes: Probes) -> None:
    end = time.perf_counter() + SHOWN_SECONDS
    while min(len(probes.on_metrics), len(probes.in_totals)) < len(probes.posted):
        if time.perf_counter() > end:
            raise SystemExit(
                f"of {len(probes.posted)} probes /metrics shows {len(probes.on_metrics)} and the totals "
                f"topic {len(probes.in_totals)}"
            )
        time.sleep(0.1)


@contextlib.contextmanager
def _watching(settings: Settings, ours: worker.Worker, probes: Probes) -> Iterator[None]:
    """Poll /metrics and read the totals topic until the end of the block, each in a thread."""
    stop, ready = threading.Event(), threading.Event()
    threads = [
        threading.Thread(target=_watch_metrics, args=(ours, probes, stop)),
        threading.Thread(target=_watch_totals, args=(settings, probes, stop, ready)),
    ]
    for thread in threads:
        thread.start()
    try:
        if not ready.wait(30):
            raise SystemExit("the totals topic cannot be read")
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _watch_metrics(ours: worker.Worker, probes: Probes, stop: threading.Event) -> None:
    cost = float("inf")  # of a poll: the shortest, since longer ones waited for a busy worker
    while not stop.is_set():
        began = time.perf_counter()
        page = ours.page() or ""
        count = worker.total(page, "fanpulse_account_events_total", having=f'account="{PROBE[1]}"')
        probes.seen(probes.on_metrics, int(count))
        took = time.perf_counter() - began
        cost = min(cost, took)
        probes.polls += 1
        stop.wait(max(0.0, max(POLL_SECONDS, cost / POLL_SHARE) - took))


def _watch_totals(settings: Settings, probes: Probes, stop: threading.Event, ready: threading.Event) -> None:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap,
            "group.id": "freshness",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
    )
    topic, view = qualified(settings.namespace, TOTALS.name), TotalsView()
    partitions = range(settings.kafka.partitions)
    consumer.assign(
        [confluent_kafka.TopicPartition(topic, each, confluent_kafka.OFFSET_BEGINNING) for each in partitions]
    )
    ready.set()
    key = json.dumps(["account", *PROBE], separators=(",", ":")).encode()
    while not stop.is_set():
        for message in consumer.consume(500, timeout=0.05):
            if message.error() is None and message.key() == key:
                view.apply(message.partition(), message.key(), message.value())
        probes.seen(probes.in_totals, sum(view.actions(("account", *PROBE)).values()))
    consumer.close()


@contextlib.contextmanager
def _load(port: int, streams: tuple[Stream, ...], seconds: float) -> Iterator[Any]:
    """Load from separate processes, which prepare all their requests before it begins.

    Yields a queue with the number of acknowledged events of each.
    """
    go, sent = SPAWN.Event(), SPAWN.Queue()
    barrier = [SPAWN.Event() for _ in streams]
    processes = [
        SPAWN.Process(target=_post_steadily, args=(port, stream, seconds, seed, made, go, sent), daemon=True)
        for seed, (stream, made) in enumerate(zip(streams, barrier, strict=True), start=11)
    ]
    for process in processes:
        process.start()
    for made in barrier:
        if not made.wait(120):
            raise SystemExit("the load was not made in time")
    go.set()
    try:
        yield sent
    finally:
        for process in processes:
            process.join(seconds + 60)
            process.kill()


def _post_steadily(
    port: int, stream: Stream, seconds: float, seed: int, made: Event, go: Event, sent: Any
) -> None:
    requests = http_load.bodies(stream.batch, int(stream.requests_per_s * seconds) + 1, seed)
    made.set()
    go.wait()
    load = http_load.run(
        port, requests, connections=stream.connections, seconds=seconds, rate=stream.requests_per_s
    )
    if set(load.statuses) != {"202"}:
        raise SystemExit(f"not everything was accepted: {load.statuses}")
    sent.put(load.answered * stream.batch)


def post(port: int, events: list[dict[str, Any]]) -> None:
    """Send events to ingest and require that they are accepted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/events", json.dumps(events), {"content-type": "application/json"})
    if connection.getresponse().status != 202:
        raise SystemExit("the posts were not accepted")
    connection.close()
