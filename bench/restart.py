"""How long a restart takes, from the start of the process until all state is loaded and the lag is 0.

A log is counted to its end; then the process is ended by SIGKILL, or by SIGTERM, and started again. After a
SIGKILL the group waits for the dead member's session to end before it gives its partitions to the new one;
that is part of the time.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

from bench import worker
from bench.stream import fill
from bench.usage import Usage
from fanpulse.devstack.kafka import EmbeddedKafka
from services.runtime.settings import KafkaSettings, Settings

POLL_SECONDS = 0.05
HOWS = {"sigkill": signal.SIGKILL, "sigterm": signal.SIGTERM}


async def run(folder: Path, events: int, keys: list[int], runs: int) -> dict[str, Any]:
    """Worst restart of ``runs`` by each signal, for each number of keys."""
    found = {}
    for number in keys:
        index = folder / str(number)
        index.mkdir()
        async with EmbeddedKafka(index / "kafka") as kafka:
            settings = Settings(namespace="restart", kafka=KafkaSettings(bootstrap=kafka.bootstrap))
            await fill(settings, events, posts=number)
            found[f"keys_{number}"] = await _restarts(settings, index, events, runs)
    return {"events": events, "runs": runs, **found}


async def _restarts(settings: Settings, folder: Path, events: int, runs: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in HOWS}
    ours = worker.start(settings, folder)
    try:
        await asyncio.to_thread(worker.await_seen, [ours], events)
        await asyncio.to_thread(_await_stored, ours)
        for number in range(runs):
            for name, how in HOWS.items():
                await asyncio.to_thread(ours.end, how)
                ours = worker.start(settings, folder)
                times[name].append(await asyncio.to_thread(_until_complete, ours, events))
                print(f"  restart {number + 1} after {name}: {times[name][-1]:.1f} s", flush=True)
        with Usage(ours.pid) as usage:
            await asyncio.sleep(0.5)
    finally:
        ours.end()
    view = await worker.stored_totals(settings)
    return {
        "keys": len(view.partials),
        "entries": sum(map(len, view.partials.values())),
        "rss_mb": round(usage.peak_mb),
        **{f"{name}_seconds": round(max(each), 2) for name, each in times.items()},
    }


def _until_complete(ours: worker.Worker, events: int) -> float:
    """Seconds from the start of the process, which was just now."""
    started = time.perf_counter()
    worker.await_seen([ours], events, POLL_SECONDS)
    return time.perf_counter() - started


def _await_stored(ours: worker.Worker) -> None:
    """Wait until two readings of the number of stored entries, more than a flush apart, agree."""
    stored = -1.0
    while True:
        now = worker.total(ours.page() or "", "fanpulse_stored_entries_total")
        if now == stored and now > 0:
            return
        stored = now
        time.sleep(3.0)
