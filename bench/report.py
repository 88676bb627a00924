"""Tables of the figures that ``python -m bench --json FILE`` writes.

python -m bench.report FILE                              print them as Markdown
python -m bench.report FILE --into docs/performance.md   put them between the two markers of that page
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
Figures = dict[str, Any]
IMPLEMENTATIONS = {
    "ours": "fanpulse",
    "bare_loop": "bare loop",
    "kafka_streams_eos": "Kafka Streams, exactly_once_v2",
    "kafka_streams_processor": "the same, a processor without repartitioning",
    "kafka_streams_combined": "the same, each record summed up first",
}
SIGNALS = {"sigkill": "kill -9", "sigterm": "SIGTERM"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its title, its columns, its rows of text, and a line below it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def tables(results: Figures) -> Iterator[Table]:
    """A table for each benchmark that ran, in a fixed order."""
    for name, make in _TABLES.items():
        if name in results:
            yield make(results[name])


def markdown(results: Figures) -> str:
    """All tables as Markdown."""
    parts = []
    for table in tables(results):
        head = [_row(table.columns), _row(("---", *("--:",) * (len(table.columns) - 1)))]
        parts.append("\n".join([f"### {table.title}", "", *head, *map(_row, table.rows)]))
        if table.note:
            parts.append(table.note)
    return "\n\n".join(parts) + "\n"


def show(results: Figures) -> None:
    """All tables on the terminal."""
    console = Console()
    for table in tables(results):
        rich = RichTable(title=table.title, caption=table.note or None)
        for number, column in enumerate(table.columns):
            rich.add_column(column, justify="right" if number else "left")
        for row in table.rows:
            rich.add_row(*row)
        console.print(rich)


def put_into(page: str, text: str) -> str:
    """The page with the text between its markers. Raises ValueError if it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _aggregate(figures: Figures) -> Table:
    rows = []
    implementations = figures["implementations"]
    for name in (name for name in IMPLEMENTATIONS if name in implementations):
        each = implementations[name]
        ratio = each["events_per_s"] / implementations["ours"]["events_per_s"]
        rows.append(
            (
                IMPLEMENTATIONS[name],
                f"{each['events_per_s']:,.0f}",
                f"{ratio:.2f}",
                f"{each['rss_mb']:,.0f}",
                f"{each['cpu_seconds_per_million']:.2f}",
            )
        )
    goals = [f"fanpulse / bare loop: {figures['ratio_bare']:.2f} (goal 0.7)"]
    if "ratio_kafka_streams" in figures:
        goals.append(f"fanpulse / Kafka Streams: {figures['ratio_kafka_streams']:.2f} (goal 4)")
        goals.append(f"/ its processor: {figures['ratio_kafka_streams_processor']:.2f}")
        goals.append(f"/ that with records summed up first: {figures['ratio_kafka_streams_combined']:.2f}")
    if "time_ratio_10x" in figures:
        goals.append(f"time for ten times the events: {figures['time_ratio_10x']:.2f} times (goal 11)")
    note = (
        f"{'; '.join(goals)}. Medians of {figures['runs']}, of Kafka Streams of "
        f"{figures['kafka_streams_runs']}; records of {figures['events_per_record']} events, "
        f"{figures['bytes_per_event']} bytes an event; all counts agree."
    )
    columns = ("", "events/s", "to fanpulse", "peak RSS, MB", "CPU s per million")
    return Table(f"Counting {figures['events']:,} events", columns, rows, note)


def _hashtags(figures: Figures) -> Table:
    rows = [
        ("scrape while counting, p50 / p99 / max, ms (goal 300)", _three(figures, "scrape")),
        ("scrape at rest, p50 / p99, ms", _pair(figures, "idle_scrape", "ms")),
        ("series on /metrics", f"{figures['series']:,}"),
        ("size of the page, bytes", f"{figures['page_bytes']:,}"),
        ("peak RSS, MB", f"{figures['rss_mb']:,}"),
        ("events/s while counting, from the start of the process", f"{figures['events_per_s']:,}"),
        ("totals topic: every key exact", "yes" if figures["totals_exact"] else "no"),
    ]
    title = f"{figures['hashtags']:,} hashtags and {figures['accounts']:,} accounts"
    return Table(title, ("", "figure"), rows, f"{figures['events']:,} events, {figures['scrapes']} scrapes.")


def _freshness(figures: Figures) -> Table:
    rows = [
        (
            _rate(int(name.removeprefix("at_")), each["events_per_s"]),
            *(_pair(each, what, "ms") for what in ("acknowledged", "metrics", "totals")),
            f"{each['metrics_poll_ms']:,}",
            f"{each['probes']:,}",
        )
        for name, each in figures.items()
        if name.startswith("at_")
    ]
    shown = ("on /metrics, ms", "in the totals topic, ms")
    columns = ("events/s", "202 answered, ms", *shown, "between polls, ms", "probes")
    note = (
        "p50 / p99 from POST; the time between two polls of /metrics is the resolution of that column. Goals "
        "for p99: 300 ms and 1,500 ms."
    )
    return Table("Freshness", columns, rows, note)


def _rate(wanted: int, reached: int) -> str:
    """The load, and the rate that was reached if the machine could not sustain the load."""
    return f"{wanted:,}" if reached > 0.98 * wanted else f"{reached:,} of {wanted:,}"


def _restart(figures: Figures) -> Table:
    rows = [
        (
            f"{each['keys']:,}",
            *(f"{each[f'{signal}_seconds']:.1f}" for signal in SIGNALS),
            f"{each['entries']:,}",
            f"{each['rss_mb']:,}",
        )
        for name, each in figures.items()
        if name.startswith("keys_")
    ]
    columns = ("keys", *(f"after {name}, s" for name in SIGNALS.values()), "entries stored", "RSS, MB")
    note = (
        "From the start of the process until all state is loaded and no record waits; worst of "
        f"{figures['runs']}. Goal with 20,000 keys: 10 s."
    )
    return Table(f"Restart after {figures['events']:,} events", columns, rows, note)


def _workers(figures: Figures) -> Table:
    rows = [
        (name, f"{figures[f'{key}_per_s']:,.0f}", f"{figures[f'{key}_rss_mb']:,.0f}")
        for key, name in (("one", "1"), ("two", "2"))
    ]
    note = f"Two workers: {figures['ratio']:.2f} times one, median of {figures['runs']}."
    return Table(f"Workers, {figures['events']:,} events", ("workers", "events/s", "RSS, MB"), rows, note)


def _ingest(figures: Figures) -> Table:
    rows = [
        (
            name,
            f"{row['events_per_s']:,.0f}",
            f"{row['requests_per_s']:,.0f}",
            f"{row['bare_events_per_s']:,.0f}",
            f"{row['ratio_bare']:.2f}",
            f"{row['p50_ms']:.1f} / {row['p99_ms']:.1f}",
            f"{row['half_p50_ms']:.1f} / {row['half_p99_ms']:.1f}",
            f"{row['server_cores']:.2f}",
        )
        for name, row in figures.items()
        if isinstance(row, dict) and "requests_per_s" in row
    ]
    latencies = ("p50 / p99, ms", "at half load, ms")
    columns = ("posts", "events/s", "requests/s", "bare producer/s", "ratio", *latencies, "cores")
    note = f"Memory: {figures['rss_idle_mb']} MB idle, {figures['rss_after_mb']} MB after."
    if frozen := figures.get("frozen_broker"):
        note += (
            f" Broker stopped for {frozen['seconds']:.0f} s, {frozen['connections']} connections pushing: at "
            f"most {frozen['rss_peak_mb']} MB (goal 300), {frozen['answered_503']:,} answers 503."
        )
    return Table("Ingest", columns, rows, note)


def _unfair(figures: Figures) -> Table:
    goal = figures["goal_p99_ms"]
    rows = [
        (
            name,
            f"{row['p50_ms']:.1f} / {row['p99_ms']:.1f}",
            f"{row['p99_ms'] / goal:.2f}",
            f"{row['rss_mb']:.0f}",
        )
        for name, row in figures["beside"].items()
    ]
    note = (
        f"A client posts {figures['rate']:.0f} single events a second, {figures['seconds']:.0f} s each, "
        f"beside {figures['connections']} connections of a hostile one. Goal: p99 below {goal:.0f} ms."
    )
    return Table(
        "One client beside a hostile one", ("beside", "p50 / p99, ms", "of the goal", "MB"), rows, note
    )


def _ingest_detours(figures: Figures) -> Table:
    loads = ("500s", "singles")
    rows = [
        (name, *(f"{figures[load][name][key]:.2f}" for load in loads for key in ("rate_ratio", "cpu_ratio")))
        for name in figures[loads[0]]
    ]
    columns = ("ingest", *(f"{load}: {what}" for load in loads for what in ("rate", "CPU a request")))
    note = f"Each as a ratio to ingest as it is; medians of {figures['rounds']} rounds."
    return Table("What each detour of ingest earns", columns, rows, note)


def _pair(figures: Figures, name: str, unit: str) -> str:
    return f"{figures[f'{name}_p50_{unit}']:,} / {figures[f'{name}_p99_{unit}']:,}"


def _three(figures: Figures, name: str) -> str:
    return f"{_pair(figures, name, 'ms')} / {figures[f'{name}_max_ms']:,}"


_TABLES: dict[str, Callable[[Figures], Table]] = {
    "aggregate": _aggregate,
    "aggregate_10m": _aggregate,
    "hashtags": _hashtags,
    "freshness": _freshness,
    "restart": _restart,
    "workers": _workers,
    "ingest": _ingest,
    "unfair": _unfair,
    "ingest_detours": _ingest_detours,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.report", description="Tables of benchmark figures.")
    parser.add_argument("figures", type=Path, help="what `python -m bench --json FILE` wrote")
    parser.add_argument("--into", type=Path, help="the page whose markers enclose the tables")
    arguments = parser.parse_args()
    text = markdown(json.loads(arguments.figures.read_text()))
    if arguments.into:
        arguments.into.write_text(put_into(arguments.into.read_text(), text))
    else:
        print(text)


if __name__ == "__main__":
    main()
