"""Every benchmark, each beside its peer in one run: ``python -m bench [--json FILE]``."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from bench import aggregate, ingest


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events in the aggregator's log")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn; medians are printed")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run of ingest")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"aggregate": asyncio.run(aggregate.run(arguments.events, arguments.runs))}
    figures = results["aggregate"]
    print(
        f"aggregate, {figures['events']:,} events: ours {figures['ours_per_s']:,}/s, bare loop "
        f"{figures['bare_loop_per_s']:,}/s, ratio {figures['ratio_bare']}; {figures['rss_mb']} MB, "
        f"{figures['cpu_seconds_per_million']} CPU s per million",
        flush=True,
    )
    results["ingest"] = asyncio.run(ingest.run(arguments.seconds, arguments.runs))
    print(ingest.table(results["ingest"]))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
