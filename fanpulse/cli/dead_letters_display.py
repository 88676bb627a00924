"""Dead letters for people and for programs."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.context import stderr
from fanpulse.deadletters.redrive import RedriveReport
from fanpulse.deadletters.snapshot import Overview, short_id
from schemas.dead_letter import DeadLetter, RedriveMarker
from schemas.reasons import Reason

out = PrintableConsole(highlight=False)


def as_json(dead_letter: DeadLetter, markers: dict[str, RedriveMarker]) -> dict[str, Any]:
    """A dead letter for programs, without its bytes."""
    marker = markers.get(dead_letter.id)
    return {
        "id": dead_letter.id,
        "reason": dead_letter.reason,
        "field": dead_letter.field,
        "detail": dead_letter.detail,
        "source": dead_letter.origin,
        "received_at": dead_letter.received_at,
        "index": dead_letter.index,
        "bytes": dead_letter.size,
        "redriven_at": marker.at if marker else None,
    }


def print_table(overview: Overview, markers: dict[str, RedriveMarker]) -> None:
    """List dead letters, newest first, in 80 columns; and count them by reason."""
    if not overview.total:
        out.print("No dead letters.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("ID", no_wrap=True)
    table.add_column("RECEIVED (UTC)", no_wrap=True)
    table.add_column("REASON", no_wrap=True, style="red")
    table.add_column("WHAT", ratio=1, overflow="fold")
    for dead_letter in overview.newest_first():
        field = f"[bold]{escape(dead_letter.field)}[/bold]: " if dead_letter.field else ""
        again = " [green](sent again)[/green]" if dead_letter.id in markers else ""
        what = f"{field}{escape(dead_letter.detail)} [dim]({escape(dead_letter.origin)})[/dim]{again}"
        table.add_row(short_id(dead_letter.id), time_of(dead_letter.received_at), dead_letter.reason, what)
    out.print(table)
    counts = ", ".join(f"{count:,} {reason}" for reason, count in overview.by_reason.most_common())
    shown = len(overview.dead_letters)
    listed = f"{shown:,} of {overview.total:,}" if shown < overview.total else f"{overview.total:,}"
    out.print(f"\n{listed} dead letter{'s' if overview.total != 1 else ''}: {counts}", soft_wrap=True)


def print_dead_letter(dead_letter: DeadLetter, marker: RedriveMarker | None) -> None:
    """One dead letter with what was sent, and what may correct it."""
    rows = [
        ("id", dead_letter.id),
        ("received", f"{time_of(dead_letter.received_at, seconds=True)} UTC"),
        (
            "source",
            dead_letter.origin
            + (f", event {dead_letter.index}" if dead_letter.index >= 0 else ", the whole body"),
        ),
        ("reason", dead_letter.reason),
        ("field", dead_letter.field or "the event as a whole"),
        ("detail", dead_letter.detail),
        (
            "size",
            f"{dead_letter.size:,} bytes"
            + (f", of which the first {len(dead_letter.raw):,} were kept" if dead_letter.truncated else ""),
        ),
    ]
    if marker:
        rows.append(("sent again", f"{time_of(marker.at, seconds=True)} UTC"))
    for name, value in rows:
        out.print(f"[bold]{name:<10}[/bold]  {escape(value)}", soft_wrap=True)
    out.print()
    out.print(_readable(dead_letter.raw), markup=False, soft_wrap=True)
    hint = _hint(dead_letter)
    if hint and not marker:
        out.print(f"\n[dim]{escape(hint)}[/dim]", soft_wrap=True)


def _readable(data: bytes) -> str:
    """Text as it is, JSON indented if that hides nothing; other bytes as Python writes them.

    Characters that could do something to a terminal are escaped.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return repr(data)
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text, object_pairs_hook=_distinct), ensure_ascii=False, indent=2)
    return "".join(sign if sign.isprintable() or sign in "\n" else ascii(sign)[1:-1] for sign in text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _hint(dead_letter: DeadLetter) -> str | None:
    command = f"fanpulse dead-letters redrive {short_id(dead_letter.id)}"
    if dead_letter.truncated or not dead_letter.field:
        return None
    if dead_letter.reason == Reason.UNKNOWN_FIELD:
        return f"To correct it: {command} --drop {dead_letter.field}, or --map FIELD={dead_letter.field}"
    if dead_letter.reason == Reason.MISSING_FIELD:
        return f"To correct it: {command} --set {dead_letter.field}=VALUE, or --map {dead_letter.field}=KEY"
    return f"To correct it: {command} --set {dead_letter.field}=VALUE"


def print_report(report: RedriveReport, dry_run: bool) -> None:
    """The result: what would be rejected again on standard error, the counts on standard output."""
    would = "would be " if dry_run else ""
    for dead_letter, rejection in report.still_rejected:
        field = f" {escape(rejection.field)}" if rejection.field else ""
        why = f"[red]{rejection.reason.value}[/red]: {escape(rejection.detail)}"
        line = f"{short_id(dead_letter.id)}{field} {why}"
        stderr.print(line, soft_wrap=True)
    more = report.still_rejected_count.total() - len(report.still_rejected)
    if more > 0:
        stderr.print(f"... and {more:,} more")
    out.print(f"{report.accepted:,} {would}accepted, {report.rejected:,} {would}rejected again")
    if report.unnamed:
        given = f"{report.unnamed:,} had no event_id and got one from their content"
        out.print(f"  {given}; equal ones count once")
    if report.rejected_again:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in report.rejected_again.most_common())
        out.print(f"  rejected by ingest, now new dead letters: {counts}")


def time_of(ms: int, *, seconds: bool = False) -> str:
    """A time in UTC; the number itself if it is out of range."""
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(ms)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%m-%d %H:%M")
