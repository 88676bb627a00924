"""Ingest under load, beside a bare producer: ``python -m bench.ingest [--json FILE]``.

The real service as a process of its own, an embedded broker, and a client; all three share this machine's
cores. Each configuration runs in the same round as its baseline; medians are reported.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import frozen_broker
from bench.events import posts
from fanpulse.devstack.kafka import EmbeddedKafka
from fanpulse.devstack.ports import Ports
from schemas.topics import EVENTS, qualified
from services.runtime.kafka import create_topics
from services.runtime.settings import KafkaSettings, Settings

READY_SECONDS = 60.0
RUN_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """One kind of load and the size of the records of the baseline."""

    name: str
    batch: int
    connections: int
    baseline_batch: int


CONFIGURATIONS = (
    Configuration("500s", batch=500, connections=16, baseline_batch=125),
    Configuration("singles", batch=1, connections=64, baseline_batch=1),
)


async def run(seconds: float, runs: int) -> dict[str, Any]:
    """Figures of each configuration: medians of `runs` runs of `seconds` each."""
    with tempfile.TemporaryDirectory(prefix="fanpulse-bench-") as name:
        folder = Path(name)
        async with EmbeddedKafka(folder / "kafka") as kafka:
            settings = Settings(
                namespace="bench", state_dir=folder, kafka=KafkaSettings(bootstrap=kafka.bootstrap)
            )
            await create_topics(settings)
            figures = await asyncio.to_thread(_measure, settings, seconds, runs)
            assert kafka.pid is not None
            figures["frozen_broker"] = await asyncio.to_thread(_frozen, settings, kafka.pid)
            return figures


def _frozen(settings: Settings, broker: int) -> dict[str, Any]:
    patience = str(frozen_broker.ACK_TIMEOUT_SECONDS)
    with service(settings, FANPULSE_INGEST_ACK_TIMEOUT_SECONDS=patience) as (port, process):
        post(port, posts())
        return frozen_broker.measure(port, process, broker)


def _measure(settings: Settings, seconds: float, runs: int) -> dict[str, Any]:
    rows: dict[str, list[dict[str, float]]] = {each.name: [] for each in CONFIGURATIONS}
    with service(settings) as (port, process):
        idle_mb = process.memory_info().rss / 2**20
        post(port, posts())
        for number in range(runs):
            for each in CONFIGURATIONS:
                rows[each.name].append(_round(settings, each, port, process, seconds, number))
        peak_mb = process.memory_info().rss / 2**20
    return {
        "runs": runs,
        "seconds": seconds,
        "rss_idle_mb": round(idle_mb),
        "rss_after_mb": round(peak_mb),
        **{name: _medians(each) for name, each in rows.items()},
    }


def _round(
    settings: Settings, each: Configuration, port: int, process: psutil.Process, seconds: float, number: int
) -> dict[str, float]:
    """The bare producer, ingest at full load, and ingest at half of that."""
    bare = _bare(settings, each, seconds)
    before = sum(process.cpu_times()[:2])
    full = load(each, port, seconds, None, 2 * number + 1)
    cpu = sum(process.cpu_times()[:2]) - before
    rate = full["requests"] / full["seconds"]
    half = load(each, port, seconds, rate / 2, 2 * number + 2)
    row = {
        "events_per_s": rate * each.batch,
        "requests_per_s": rate,
        "bare_events_per_s": bare["per_s"],
        "ratio_bare": rate * each.batch / bare["per_s"],
        "p50_ms": full["p50_ms"],
        "p99_ms": full["p99_ms"],
        "half_p50_ms": half["p50_ms"],
        "half_p99_ms": half["p99_ms"],
        "server_cores": cpu / full["seconds"],
        "client_cores": full["cpu_seconds"] / full["seconds"],
    }
    print(
        f"  {each.name}: {row['events_per_s']:,.0f} events/s, bare {row['bare_events_per_s']:,.0f}, "
        f"p99 {row['p99_ms']:.1f} ms, half load {row['half_p99_ms']:.1f} ms",
        file=sys.stderr,
        flush=True,
    )
    return row


def load(
    each: Configuration, port: int, seconds: float, rate: float | None, seed: int, distinct: int = 100_000
) -> dict[str, Any]:
    """Post to a running service; the client's figures. Exits if anything was not accepted."""
    command = [sys.executable, "-m", "bench.http_load", str(port), "--batch", str(each.batch)]
    command += ["--connections", str(each.connections), "--seconds", str(seconds), "--seed", str(seed)]
    command += ["--distinct", str(distinct)]
    figures = _figures([*command, *(["--rate", str(rate)] if rate else [])])
    if set(figures["statuses"]) != {"202"}:
        raise SystemExit(f"not everything was accepted: {figures['statuses']}")
    return figures


def _bare(settings: Settings, each: Configuration, seconds: float) -> dict[str, Any]:
    events = int(seconds * (400_000 if each.baseline_batch > 1 else 30_000))
    topic = qualified(settings.namespace, EVENTS.name)
    command = [sys.executable, "-m", "bench.bare_producer", str(settings.kafka.bootstrap), topic]
    command += ["--events", str(events), "--batch", str(each.baseline_batch)]
    return _figures([*command, "--partitions", str(settings.kafka.partitions)])


def _figures(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=RUN_TIMEOUT_SECONDS)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@contextlib.contextmanager
def service(settings: Settings, **variables: str) -> Iterator[tuple[int, psutil.Process]]:
    """The ingest service of these settings as a process, ready; its port, and the process."""
    port = Ports(settings.state_dir / "ports.json").choose("ingest")["ingest"]
    environment = os.environ | {
        "FANPULSE_KAFKA_BOOTSTRAP": str(settings.kafka.bootstrap),
        "FANPULSE_NAMESPACE": settings.namespace,
        "FANPULSE_STATE_DIR": str(settings.state_dir),
        "FANPULSE_INGEST_PORT": str(port),
        **variables,
    }
    with (settings.state_dir / "ingest.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fanpulse", "serve", "ingest"], env=environment, stderr=log
        )
    try:
        await_ready(port, process)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def await_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the service takes events in; exits if it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
            return
        time.sleep(0.1)
    raise SystemExit("ingest did not become ready")


def post(port: int, events: list[dict[str, Any]]) -> None:
    """Post events once; exits if they are not accepted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/events", json.dumps(events), {"content-type": "application/json"})
    if connection.getresponse().status != 202:
        raise SystemExit("the posts were not accepted")
    connection.close()


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}


def table(results: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"{'':10}{'events/s':>12}{'requests/s':>12}{'bare/s':>12}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'half p50':>10}{'half p99':>10}{'cores':>7}"
    ]
    for each in CONFIGURATIONS:
        row = results[each.name]
        lines.append(
            f"{each.name:10}{row['events_per_s']:12,.0f}{row['requests_per_s']:12,.0f}"
            f"{row['bare_events_per_s']:12,.0f}{row['ratio_bare']:8.2f}{row['p50_ms']:9.1f}{row['p99_ms']:9.1f}"
            f"{row['half_p50_ms']:10.1f}{row['half_p99_ms']:10.1f}{row['server_cores']:7.2f}"
        )
    lines.append(
        f"memory of the service: {results['rss_idle_mb']} MB idle, {results['rss_after_mb']} MB after"
    )
    frozen = results["frozen_broker"]
    lines.append(
        f"broker stopped for {frozen['seconds']:.0f} s, {frozen['connections']} connections pushing: "
        f"at most {frozen['rss_peak_mb']} MB, {frozen['answered_503']:,} answers 503"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.ingest", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn; medians are printed")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments.seconds, arguments.runs))
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
