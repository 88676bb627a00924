"""How dead letters look."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanpulse.cli.context import stderr
from fanpulse.deadletters.redrive import RedriveReport
from fanpulse.deadletters.snapshot import Letter, Mark, Overview, short_id
from schemas.reasons import Reason

out = Console(highlight=False)


def as_json(letter: Letter, marks: dict[str, Mark]) -> dict[str, Any]:
    """A letter for programs, without its bytes."""
    mark = marks.get(letter.id)
    return {
        "id": letter.id,
        "reason": letter.reason,
        "field": letter.field,
        "detail": letter.detail,
        "source": letter.origin,
        "received_at": letter.received_at,
        "index": letter.index,
        "bytes": letter.size,
        "redriven_at": mark.at if mark else None,
    }


def print_table(overview: Overview, marks: dict[str, Mark]) -> None:
    """List letters, newest first, in 80 columns; and count them by reason."""
    if not overview.total:
        out.print("No dead letters.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("ID", no_wrap=True)
    table.add_column("RECEIVED (UTC)", no_wrap=True)
    table.add_column("REASON", no_wrap=True, style="red")
    table.add_column("WHAT", ratio=1, overflow="fold")
    for letter in overview.newest_first():
        field = f"[bold]{escape(letter.field)}[/bold]: " if letter.field else ""
        again = " [green](sent again)[/green]" if letter.id in marks else ""
        what = f"{field}{escape(letter.detail)} [dim]({escape(letter.origin)})[/dim]{again}"
        table.add_row(short_id(letter.id), time_of(letter.received_at), letter.reason, what)
    out.print(table)
    counts = ", ".join(f"{count:,} {reason}" for reason, count in overview.by_reason.most_common())
    shown = len(overview.letters)
    listed = f"{shown:,} of {overview.total:,}" if shown < overview.total else f"{overview.total:,}"
    out.print(f"\n{listed} dead letter{'s' if overview.total != 1 else ''}: {counts}", soft_wrap=True)


def print_letter(letter: Letter, mark: Mark | None) -> None:
    """One letter with what was sent, and what may mend it."""
    rows = [
        ("id", letter.id),
        ("received", f"{time_of(letter.received_at, seconds=True)} UTC"),
        ("source", letter.origin + (f", event {letter.index}" if letter.index >= 0 else ", the whole body")),
        ("reason", letter.reason),
        ("field", letter.field or "the event as a whole"),
        ("detail", letter.detail),
        (
            "size",
            f"{letter.size:,} bytes" + (", of which the beginning was kept" if letter.truncated else ""),
        ),
    ]
    if mark:
        rows.append(("sent again", f"{time_of(mark.at, seconds=True)} UTC"))
    for name, value in rows:
        out.print(f"[bold]{name:<10}[/bold]  {escape(value)}", soft_wrap=True)
    out.print()
    out.print(_readable(letter.data), markup=False, soft_wrap=True)
    hint = _hint(letter)
    if hint and not mark:
        out.print(f"\n[dim]{escape(hint)}[/dim]", soft_wrap=True)


def _readable(data: bytes) -> str:
    """Text as it is, JSON indented if that hides nothing; what is no text as Python writes bytes.

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


def _hint(letter: Letter) -> str | None:
    command = f"fanpulse dead-letters redrive {short_id(letter.id)}"
    if letter.truncated or not letter.field:
        return None
    if letter.reason == Reason.UNKNOWN_FIELD:
        return f"To mend it: {command} --drop {letter.field}, or --map FIELD={letter.field}"
    if letter.reason == Reason.MISSING_FIELD:
        return f"To mend it: {command} --set {letter.field}=VALUE, or --map {letter.field}=KEY"
    return f"To mend it: {command} --set {letter.field}=VALUE"


def print_report(report: RedriveReport, dry_run: bool) -> None:
    """What became of letters: those still refused on standard error, the counts on standard output."""
    would = "would be " if dry_run else ""
    for letter, refusal in report.still_refused:
        field = f" {escape(refusal.field)}" if refusal.field else ""
        line = f"{short_id(letter.id)}{field} [red]{refusal.reason.value}[/red]: {escape(refusal.detail)}"
        stderr.print(line, soft_wrap=True)
    more = report.still_refused_count.total() - len(report.still_refused)
    if more > 0:
        stderr.print(f"... and {more:,} more")
    out.print(f"{report.accepted:,} {would}accepted, {report.refused:,} {would}refused again")
    if report.unnamed:
        given = f"{report.unnamed:,} had no event_id and get one from their content"
        out.print(f"  {given}: equal ones count once")
    if report.refused_again:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in report.refused_again.most_common())
        out.print(f"  refused by ingest all the same, as new dead letters: {counts}")


def time_of(ms: int, *, seconds: bool = False) -> str:
    """A time in UTC; the number itself if it is none."""
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(ms)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%m-%d %H:%M")
