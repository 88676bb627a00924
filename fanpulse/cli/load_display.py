"""A load for people: a progress bar in a terminal, plain lines elsewhere, and a summary of each file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from fanpulse.load.checkpoint import Checkpoint
from fanpulse.load.loading import RejectedRow
from fanpulse.load.session import FileReport

#: So many rejected rows are shown; the others are counted.
SHOWN_ROWS = 20
_PLAIN_SECONDS = 5.0
_WAIT_SECONDS = 2.0


class LoadDisplay:
    """Shows a load: progress and rejected rows on ``err``, the summary of each file on ``out``.

    Use as ``with``. ``quiet`` leaves only rejected rows and waits. ``dedup_window``: the number of events
    among which the aggregator finds duplicates; the summary says if a file is longer, since it is not safe to
    load twice.
    """

    def __init__(self, out: Console, err: Console, *, quiet: bool, dedup_window: int) -> None:
        self._out = out
        self._dedup_window = dedup_window
        self._err = err
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._shown = 0
        self._hinted = False
        self._last_line = self._last_wait = float("-inf")
        self._began = time.monotonic()
        self._rows_before = 0
        if err.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TextColumn("{task.fields[rows]}"),
                TimeRemainingColumn(compact=True),
                console=err,
                transient=True,
            )

    def __enter__(self) -> LoadDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, report: FileReport) -> None:
        """A file is open."""
        self._began = self._last_line = time.monotonic()
        self._rows_before = report.result.rows
        if self._quiet:
            return
        before = report.resumed
        if before and before.done:
            self._say(f"{report.name}: loaded before the interruption; --restart loads it again")
        elif before:
            self._say(
                f"{report.name}: resuming after row {before.rows:,} (line {before.lines:,}), "
                "where it was interrupted; --restart starts over"
            )
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._bar.start()
            self._task = self._bar.add_task(escape(report.name), total=None, rows="")

    def progress(self, report: FileReport, done: int, total: int | None) -> None:
        """More of it has been answered."""
        now = time.monotonic()
        rate = (report.result.rows - self._rows_before) / max(now - self._began, 1e-3)
        text = f"{report.result.rows:,} rows, {rate:,.0f}/s"
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, rows=text)
        elif not self._quiet and now - self._last_line >= _PLAIN_SECONDS:
            self._last_line = now
            share = f", {done / total:.0%}" if total else ""
            left = f", {_eta(now - self._began, done, total)}" if total and not report.resumed else ""
            self._say(f"{report.name}: {text}{share}{left}")

    def rejected(self, report: FileReport, rows: Sequence[RejectedRow]) -> None:
        """These rows were rejected."""
        for row in rows[: max(0, SHOWN_ROWS - self._shown)]:
            self._shown += 1
            where = f"[bold]{escape(report.name)}:{row.line}[/bold]"
            field = f" {escape(row.field)}" if row.field else ""
            self._err.print(
                f"{where}{field} [red]{row.reason}[/red]: {escape(row.detail)}",
                soft_wrap=True,
                highlight=False,
            )
        if self._shown >= SHOWN_ROWS and sum(report.result.rejected.values()) > SHOWN_ROWS:
            if not self._hinted:
                self._say("Further rejected rows are only counted; --errors FILE keeps them all.")
            self._hinted = True

    def waiting(self, problem: str, seconds: float) -> None:
        """A request will be tried again; several threads may call this."""
        now = time.monotonic()
        if now - self._last_wait >= _WAIT_SECONDS:
            self._last_wait = now
            self._say(f"{problem}; trying again")

    def not_kept(self, reason: str) -> None:
        self._err.print(
            f"{reason}; the load goes on. If it is interrupted, it begins further back, and rows count once",
            markup=False,
            soft_wrap=True,
        )

    def end(self, report: FileReport) -> None:
        """A file has been loaded to its end."""
        if self._bar:
            self._bar.stop()  # or the summary, which is printed elsewhere, would stand beside it
        if not self._quiet and not (report.resumed and report.resumed.done):
            summarise(self._out, report, self._dedup_window)

    def _say(self, text: str) -> None:
        self._err.print(text, markup=False, highlight=False, soft_wrap=True)


def summarise(out: Console, report: FileReport, dedup_window: int) -> None:
    """Print the summary of a file."""
    result = report.result
    rate = result.rows / result.seconds if result.seconds else 0
    rejected = sum(result.rejected.values())
    out.print(
        f"[bold]{escape(report.name)}[/bold] ({report.kind_of_file}): {result.rows:,} rows, "
        f"{result.accepted:,} accepted, {rejected:,} rejected, {result.seconds:.1f} s, {rate:,.0f} rows/s",
        highlight=False,
        soft_wrap=True,
    )
    for line in _remarks(report, result, dedup_window):
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _remarks(report: FileReport, result: Checkpoint, dedup_window: int) -> list[str]:
    remarks = []
    if result.rejected:
        by_reason = sorted(result.rejected.items(), key=lambda item: (-item[1], item[0]))
        remarks.append("rejected: " + ", ".join(f"{count:,} {reason}" for reason, count in by_reason))
    if report.titles:
        remarks.append("lines before the header: " + "; ".join(report.titles))
    if report.ignored:
        remarks.append("columns that fill no field: " + ", ".join(report.ignored))
    if result.rows:
        remarks += [f"no row had {key!r}, the source of {path}" for path, key in report.unused_maps.items()]
    times = report.times
    for unit, name in (("s", "seconds"), ("us", "microseconds"), ("ns", "nanoseconds")):
        if times and times.units[unit]:
            remarks.append(f"times that are numbers, taken as epoch {name}: {times.units[unit]:,}")
    if times and times.without_offset:
        remarks.append(f"times without an offset, taken in {times.zone}: {times.without_offset:,}")
    if result.rows > dedup_window:
        remarks.append(
            f"duplicates are remembered for about {dedup_window:,} events: loading this file again "
            "would count rows twice"
        )
    return remarks


def _eta(elapsed: float, done: int, total: int) -> str:
    left = elapsed * (total - done) / max(done, 1)
    return f"about {left:.0f} s left" if left < 120 else f"about {left / 60:.0f} min left"
