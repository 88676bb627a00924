"""What a demo prints at its beginning and end. Pure: rich text from figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fanpulse.simulate.verdict import Outcome


def closing(outcome: Outcome) -> RenderableType:
    """The figures, and the verdict; with the problems, if it is not good."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(justify="right", style="bold")
    table.add_column(style="dim")
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in outcome.rejected.items())
    rows = (
        ("sent", outcome.sent, "events, through HTTP ingest"),
        ("accepted", outcome.accepted, ""),
        ("rejected", sum(outcome.rejected.values()), reasons),
        ("duplicates", outcome.duplicates, "accepted, but not counted again"),
        ("counted", outcome.counted, "distinct events"),
        ("milestones", outcome.milestones, ""),
        ("spikes", outcome.spikes, ", ".join(outcome.moments)),
    )
    for name, count, note in rows:
        table.add_row(name, f"{count:,}", note)
    if outcome.retries:
        note = f"requests without an answer, sent again; {outcome.resent:,} events are in the log twice"
        table.add_row("retries", f"{outcome.retries:,}", note)
    table.add_row("seconds", f"{outcome.seconds:.1f}", "")
    return Group("", Padding(table, (0, 0, 0, 2)), "", *_verdict(outcome), "")


def opening(seed: int, speed: float, minutes: int) -> RenderableType:
    """The first line: what the demo plays, and how fast."""
    span = f"{minutes} minutes of 22 June 2026"
    pace = f"{span} in {_seconds(minutes, speed)}" if speed else f"{span} at full speed"
    return Text.assemble(
        ("fanpulse demo", "bold"), (f"  the Fuxi Grand Ceremony, {pace}; seed {seed}", "dim")
    )


def _seconds(minutes: int, speed: float) -> str:
    seconds = minutes * 60 / speed
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _verdict(outcome: Outcome) -> list[Text]:
    if outcome.good:
        line = Text.assemble(
            ("  VERDICT ", "bold"),
            (outcome.verdict, "bold green"),
            ("  a recount of the log gives every published figure", "dim"),
        )
        return [line, *(Text(f"  - {note}", "dim") for note in outcome.notes)]
    head = Text.assemble(("  VERDICT ", "bold"), ("NOT GOOD", "bold red"), f"  the audit: {outcome.verdict}")
    return [head, *(Text.assemble(("  ✗ ", "bold red"), problem) for problem in outcome.problems)]


def addresses(status: Mapping[str, Any], absent: Mapping[str, str]) -> RenderableType:
    """The addresses while the stack stays up. ``absent`` says how to get what is not installed."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    ingest = status["ingest"][0]["url"]
    table.add_row("send events", f"{ingest}/docs")
    table.add_row("metrics", f"{ingest}/metrics")
    for service in ("aggregate", "alerts"):
        for entry in status[service]:
            table.add_row("", entry["metrics"])
    for name in ("prometheus", "grafana"):
        entry = status[name]
        table.add_row(name, entry["url"] if entry else Text(absent.get(name, "not running"), "dim"))
    table.add_row("kafka", status["kafka"]["bootstrap"])
    table.add_row("board", "fanpulse watch --namespace demo")
    head = Text.assemble(
        ("  The stack stays up until you press Ctrl-C.", "bold"),
        " Every command works on it with --namespace demo.",
    )
    return Group(head, "", Padding(table, (0, 0, 0, 2)), "")
