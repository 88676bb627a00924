"""Every benchmark, each beside its baseline: ``python -m bench [--json FILE] [--only NAME,NAME]``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench import aggregate, freshness, hashtags, ingest, ingest_detours, report, restart, unfair, workers

Figures = dict[str, Any]
Section = Callable[[Path], Awaitable[Figures]]


def sections(arguments: argparse.Namespace) -> dict[str, Section]:
    """Each benchmark by name; each gets a folder of its own."""
    events, runs, streams_runs = arguments.events, arguments.runs, arguments.streams_runs
    return {
        "aggregate": lambda folder: aggregate.run(folder, events, runs, min(runs, streams_runs)),
        "aggregate_10m": lambda folder: aggregate.run(folder, 10 * events, runs, min(runs, streams_runs)),
        "hashtags": lambda folder: hashtags.run(folder, events),
        "freshness": lambda folder: freshness.run(folder, arguments.probe_seconds),
        "restart": lambda folder: restart.run(folder, 10 * events, sorted({20_000, events}), min(runs, 3)),
        "workers": lambda folder: workers.run(folder, 5 * events, min(runs, 3)),
        "ingest": lambda folder: ingest.run(arguments.seconds, runs),
        "unfair": lambda _: unfair.run(arguments.seconds),
        "ingest_detours": lambda folder: ingest_detours.run(folder, 1.0, 2 * runs + 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--events",
        type=int,
        default=1_000_000,
        help="events of the first log and distinct hashtags; other logs are multiples of it",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=5,
        help="rounds: each implementation runs once a round; medians are printed",
    )
    parser.add_argument(
        "--streams-runs",
        type=int,
        default=5,
        help="at most this many rounds include Kafka Streams, which is slow",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run of ingest")
    parser.add_argument("--probe-seconds", type=float, default=30.0, help="length of a run of freshness")
    parser.add_argument("--only", help="names of the benchmarks to run, separated by commas")
    parser.add_argument("--json", type=Path, help="write the figures to this file, after each benchmark")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are ended
    known = sections(arguments)
    chosen = arguments.only.split(",") if arguments.only else list(known)
    if unknown := sorted(set(chosen) - known.keys()):
        parser.error(f"no benchmark is named {unknown[0]}; choose from {', '.join(known)}")
    results: Figures = {"machine": machine()}
    for name in chosen:
        print(name, flush=True)
        with tempfile.TemporaryDirectory(prefix="fanpulse-bench-") as folder:
            results[name] = asyncio.run(_section(known[name], Path(folder)))
        if name == "aggregate_10m" and "aggregate" in results:
            results[name]["time_ratio_10x"] = time_ratio(results["aggregate"], results[name])
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    report.show(results)


async def _section(section: Section, folder: Path) -> Figures:
    return await section(folder)


def machine() -> Figures:
    """The machine that the figures are from."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}


def time_ratio(short: Figures, long: Figures) -> float:
    """How many times longer we take for the longer log."""
    ratio: float = (long["events"] / long["ours_per_s"]) / (short["events"] / short["ours_per_s"])
    return round(ratio, 2)


if __name__ == "__main__":
    main()
