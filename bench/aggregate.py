"""The aggregator and its baselines read the same log, round by round; their counts must agree to the unit.

The baselines are a bare confluent-kafka loop, which decodes and counts and guarantees nothing, and Kafka
Streams with exactly_once_v2, the same duplicate rule and the same windows, three times: with the aggregations
of its DSL, as its documentation writes them; with a processor that needs no repartitioning and updates each
store for each event; and with that processor and the counts of a record summed up before they go to the
stores, which is what makes the aggregator fast. A rate is the number of events from the first to the last
that an implementation counts, divided by the time between them; CPU is that of the process in that time.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import worker
from bench.figures import Counts, Rolling, RunResult, medians, require_equal
from bench.kafka_streams import baseline as streams
from bench.stream import ACCOUNTS, TAGS, fill
from bench.usage import Usage
from fanpulse.devstack.kafka import EmbeddedKafka
from schemas.topics import EVENTS, qualified
from schemas.totals import TotalsView
from services.runtime.settings import AggregateSettings, KafkaSettings, Settings

POLL_SECONDS = 1.0  # between two polls of /metrics, as in Prometheus
LAST_POLLS_SECONDS = 0.02  # until the worker is ready, and when nearly all is counted


async def run(folder: Path, events: int, runs: int, streams_runs: int) -> dict[str, Any]:
    """Medians of each implementation over a log of ``events`` events, and our ratios to the baselines."""
    async with EmbeddedKafka(folder / "kafka") as kafka:
        settings = Settings(
            namespace="bench",
            kafka=KafkaSettings(bootstrap=kafka.bootstrap),
            aggregate=AggregateSettings(
                tracked_accounts=tuple(f"{platform}:{account}" for platform, account in ACCOUNTS),
                tracked_hashtags=tuple(TAGS),
            ),
        )
        size = await fill(settings, events)
        baseline = streams.compiled(folder)
        baselines = {name: replace(baseline, options=options) for name, options in streams.WAYS.items()}
        rounds = []
        for number in range(runs):
            results = {"bare_loop": await _bare_loop(settings, events)}
            results["ours"] = await _aggregator(settings, events, folder)
            if number < streams_runs:
                for name, each in baselines.items():
                    results[name] = await streams.run(each, settings, events)
            require_equal(results)
            rounds.append(results)
            rates = ", ".join(f"{name} {each.events_per_s:,.0f}/s" for name, each in results.items())
            print(f"  {events:,} events, run {number + 1}: {rates}", flush=True)
    return {
        "events": events,
        "runs": runs,
        "kafka_streams_runs": min(runs, streams_runs),
        **size.figures(),
        **_figures(rounds),
    }


def _figures(rounds: list[dict[str, RunResult]]) -> dict[str, Any]:
    """Ratios are taken within a round, so that whatever slows the machine for a while slows both sides."""
    names = dict.fromkeys(name for results in rounds for name in results)
    implementations = {
        name: medians([results[name] for results in rounds if name in results]) for name in names
    }
    ours = implementations["ours"]
    figures: dict[str, Any] = {
        f"{name}_per_s": each["events_per_s"] for name, each in implementations.items()
    }
    figures["ratio_bare"] = _ratio(rounds, "bare_loop")
    if "kafka_streams_eos" in implementations:
        figures["ratio_kafka_streams"] = _ratio(rounds, "kafka_streams_eos")
        figures["ratio_kafka_streams_processor"] = _ratio(rounds, "kafka_streams_processor")
        figures["ratio_kafka_streams_combined"] = _ratio(rounds, "kafka_streams_combined")
    figures |= {name: ours[name] for name in ("rss_mb", "cpu_seconds_per_million")}
    return figures | {"implementations": implementations}


def _ratio(rounds: list[dict[str, RunResult]], baseline: str) -> float:
    both = [results for results in rounds if baseline in results]
    return round(
        statistics.median(results["ours"].events_per_s / results[baseline].events_per_s for results in both),
        3,
    )


async def _bare_loop(settings: Settings, events: int) -> RunResult:
    topic = qualified(settings.namespace, EVENTS.name)
    command = [sys.executable, "-m", "bench.bare_loop", str(settings.kafka.bootstrap), topic]
    command += [str(settings.kafka.partitions), str(events)]
    return await asyncio.to_thread(_run_bare_loop, command, events)


def _run_bare_loop(command: list[str], events: int) -> RunResult:
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        with Usage(process.pid) as usage:
            output = process.communicate(timeout=worker.TIMEOUT_SECONDS)[0]
    finally:
        process.kill()
    if process.returncode:
        raise SystemExit("the bare loop has failed")
    result = json.loads(output)
    counts: dict[str, Counts] = {
        what: {tuple(row[:-1]): row[-1] for row in rows} for what, rows in result["figures"].items()
    }
    cpu_per_million = result["cpu_seconds"] / events * 1e6
    return RunResult(events / result["seconds"], usage.peak_mb, cpu_per_million, counts)


async def _aggregator(settings: Settings, events: int, folder: Path) -> RunResult:
    """One run of the real service from an empty state."""
    await asyncio.to_thread(worker.forget, settings)
    with worker.running(settings, folder) as ours, Usage(ours.pid) as usage:
        counted, seconds, cpu = await asyncio.to_thread(_watch, ours, usage, events)
        await asyncio.to_thread(worker.await_seen, [ours], events)
        page = ours.page() or ""
    counts = counts_of(await worker.stored_totals(settings))
    return RunResult(counted / seconds, usage.peak_mb, cpu / counted * 1e6, counts, _rolling(page))


def _watch(ours: worker.Worker, usage: Usage, events: int) -> tuple[float, float, float]:
    """(events counted, seconds, CPU seconds) from when the worker owns its partitions until it has seen all.

    The end is interpolated between two polls, by the rate before; polls are closer together near the end.
    """
    polls: list[tuple[float, float, float]] = []
    pause = LAST_POLLS_SECONDS
    end = time.perf_counter() + worker.TIMEOUT_SECONDS
    while time.perf_counter() < end:
        time.sleep(pause)
        seen = ours.seen()
        if seen is None:
            continue
        polls.append((time.perf_counter(), seen, usage.cpu_seconds()))
        if seen >= events and len(polls) > 1:
            (first, at_first, cpu), (then, before, _) = polls[0], polls[-2]
            rate = (before - at_first) / (then - first) if then > first else 0.0
            last = min(polls[-1][0], then + (events - before) / rate) if rate else polls[-1][0]
            return events - at_first, last - first, polls[-1][2] - cpu
        pause = POLL_SECONDS
        if seen > polls[0][1]:
            rate = (seen - polls[0][1]) / (polls[-1][0] - polls[0][0])
            pause = max(LAST_POLLS_SECONDS, min(POLL_SECONDS, 0.8 * (events - seen) / rate))
    raise SystemExit("the aggregator did not count all events in time")


def counts_of(view: TotalsView) -> dict[str, Counts]:
    """Totals per account and action, and per hashtag and action."""
    return {
        f"{scope}s": {
            (*map(str, key[1:]), action): count
            for key in view.keys(scope)
            for action, count in view.actions(key).items()
        }
        for scope in ("account", "hashtag")
    }


def _rolling(page: str) -> Rolling:
    """Rolling counts on a page of metrics, summed over partitions, without zeros."""
    rolling: dict[tuple[str, ...], int] = {}
    found = worker.families(page)
    for scope, names in (("account", ("platform", "account")), ("hashtag", ("hashtag",))):
        for sample in found[f"fanpulse_{scope}_rolling"].samples:
            labels = sample.labels
            key = (labels["window"], scope, *(labels[name] for name in names), labels["action"])
            rolling[key] = rolling.get(key, 0) + int(sample.value)
    return {key: count for key, count in rolling.items() if count}
