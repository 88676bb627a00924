"""What each detour of ingest earns: the service with and without it, in turn, in one run.

``python -m bench.ingest_detours [--beside NAME=FOLDER ...]``; a folder is another checkout of this
repository, run from its own sources, to compare code that is no longer (or not yet) here.

All variants run at the same time on one broker, and only one of them is under load at a time. A rate on a
machine that does other things moves with them, so the CPU time that the service takes for a request is
given too. A ratio is the median over the rounds of a variant to the baseline of the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.events import posts
from bench.ingest import CONFIGURATIONS, await_ready, load, post
from bench.ingest_variant import VARIANTS
from fanpulse.devstack.kafka import EmbeddedKafka
from fanpulse.devstack.ports import Ports
from schemas.topics import TOPICS
from services.runtime.kafka import create_topics
from services.runtime.settings import KafkaSettings, Settings

Figures = dict[str, Any]
BASELINE = "as it is"
#: Few distinct events: a run is short, and the client makes them before it sends any.
DISTINCT = 15_000


async def run(folder: Path, seconds: float, rounds: int, beside: dict[str, Path] | None = None) -> Figures:
    """For each kind of load and each variant: requests a second and CPU of the service for a request."""
    async with EmbeddedKafka(folder / "kafka") as kafka:
        settings = Settings(
            namespace="detours", state_dir=folder, kafka=KafkaSettings(bootstrap=kafka.bootstrap)
        )
        await create_topics(settings, TOPICS)
        return await asyncio.to_thread(_measure, settings, seconds, rounds, beside or {})


def _measure(settings: Settings, seconds: float, rounds: int, beside: dict[str, Path]) -> Figures:
    commands = {name: (["bench.ingest_variant", name], Path.cwd()) for name in VARIANTS}
    commands |= {name: (["fanpulse", "ingest"], folder) for name, folder in beside.items()}
    rows: dict[str, dict[str, list[tuple[float, float]]]] = {
        each.name: {name: [] for name in commands} for each in CONFIGURATIONS
    }
    draw = random.Random(1)
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(_service(settings, number, command, folder))
            for number, (name, (command, folder)) in enumerate(commands.items())
        }
        for port, _ in running.values():
            post(port, posts())
        for number in range(rounds):
            for each in CONFIGURATIONS:
                # In another order each time: what ran before, and what else the machine does, moves a rate.
                for name, (port, process) in draw.sample(list(running.items()), len(running)):
                    before = sum(process.cpu_times()[:2])
                    figures = load(each, port, seconds, None, number + 1, DISTINCT)
                    cpu = sum(process.cpu_times()[:2]) - before
                    rows[each.name][name].append(
                        (figures["requests"] / figures["seconds"], cpu / figures["requests"])
                    )
                    rate, cost = rows[each.name][name][-1]
                    line = f"  {each.name}, {name}: {rate:,.0f}/s, {cost * 1e6:,.0f} us of CPU"
                    print(line, file=sys.stderr, flush=True)
    return {
        "rounds": rounds,
        "seconds": seconds,
        **{
            load_name: {name: _row(found, variants[BASELINE]) for name, found in variants.items()}
            for load_name, variants in rows.items()
        },
    }


def _row(found: list[tuple[float, float]], baseline: list[tuple[float, float]]) -> dict[str, float]:
    median = statistics.median
    return {
        "requests_per_s": round(median(rate for rate, _ in found), 1),
        "cpu_us": round(median(cpu for _, cpu in found) * 1e6, 1),
        "rate_ratio": round(median(mine[0] / base[0] for mine, base in zip(found, baseline, strict=True)), 3),
        "cpu_ratio": round(median(mine[1] / base[1] for mine, base in zip(found, baseline, strict=True)), 3),
    }


@contextmanager
def _service(
    settings: Settings, number: int, command: list[str], folder: Path
) -> Iterator[tuple[int, psutil.Process]]:
    state = settings.state_dir / f"service-{number}"
    state.mkdir()
    port = Ports(settings.state_dir / "ports.json").choose(f"ingest-{number}")[f"ingest-{number}"]
    environment = os.environ | {
        "FANPULSE_KAFKA_BOOTSTRAP": str(settings.kafka.bootstrap),
        "FANPULSE_NAMESPACE": settings.namespace,
        "FANPULSE_STATE_DIR": str(state),
        "FANPULSE_INGEST_PORT": str(port),
    }
    with (state / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, cwd=folder, stdout=log, stderr=log
        )
    try:
        await_ready(port, process)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def table(figures: Figures) -> str:
    """For people: rates of each variant, and the ratios of rate and CPU to the baseline."""
    lines = [f"{'':30}{'500s/s':>9}{'ratio':>7}{'CPU':>7}{'singles/s':>11}{'ratio':>7}{'CPU':>7}"]
    for name in figures["500s"]:
        line = f"{name:30}"
        for load_name, width in (("500s", 9), ("singles", 11)):
            row = figures[load_name][name]
            line += f"{row['requests_per_s']:{width},.0f}{row['rate_ratio']:7.2f}{row['cpu_ratio']:7.2f}"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Run it by itself."""
    parser = argparse.ArgumentParser(prog="bench.ingest_detours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a run")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; medians are printed")
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    beside = {name: Path(folder) for name, _, folder in (each.partition("=") for each in arguments.beside)}
    with tempfile.TemporaryDirectory(prefix="fanpulse-bench-") as folder:
        figures = asyncio.run(run(Path(folder), arguments.seconds, arguments.rounds, beside))
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
