"""How large the records are that ingest writes under full load: ``python -m bench.record_size``.

`bench.stream` takes its EVENTS_PER_RECORD from here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.events import posts
from bench.freshness import post
from bench.ingest import CONFIGURATIONS, service
from fanpulse.devstack.kafka import EmbeddedKafka
from schemas.topics import EVENTS, qualified
from services.runtime.kafka import create_topics
from services.runtime.settings import KafkaSettings, Settings
from services.runtime.topic_scan import read_topic


async def run(seconds: float) -> None:
    """A line for each kind of load."""
    for each in CONFIGURATIONS:
        with tempfile.TemporaryDirectory(prefix="fanpulse-bench-") as name:
            folder = Path(name)
            async with EmbeddedKafka(folder / "kafka") as kafka:
                settings = Settings(
                    namespace="bench", state_dir=folder, kafka=KafkaSettings(bootstrap=kafka.bootstrap)
                )
                await create_topics(settings)
                await asyncio.to_thread(_load, settings, each.batch, each.connections, seconds)
                sizes = await _sizes(settings)
        print(f"{each.name}: {json.dumps(sizes)}", flush=True)


def _load(settings: Settings, batch: int, connections: int, seconds: float) -> None:
    with service(settings) as (port, _):
        post(port, posts())
        command = [sys.executable, "-m", "bench.http_load", str(port), "--batch", str(batch)]
        command += ["--connections", str(connections), "--seconds", str(seconds)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


async def _sizes(settings: Settings) -> dict[str, float]:
    split = msgspec.json.Decoder(list[msgspec.Raw]).decode
    written = [
        (len(split(record.value)), len(record.value))
        for record in await read_topic(settings, qualified(settings.namespace, EVENTS.name))
        if record.value and b'"interaction"' in record.value
    ]
    counts = sorted(count for count, _ in written)
    total = sum(counts)
    seen = 0
    for half in counts:  # half of all events are in records of at least so many
        seen += half
        if 2 * seen >= total:
            break
    return {
        "records": len(counts),
        "events": total,
        "events_per_record_p50": counts[len(counts) // 2],
        "events_per_record_of_the_median_event": half,
        "bytes_per_event": round(sum(size for _, size in written) / total),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.record_size", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    asyncio.run(run(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
