"""Prints the events of a stack, one line each, and the progress of the first download."""

from __future__ import annotations

import threading

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from services.supervise.events import EventType, OnEvent, StackEvent

_WIDTH = 12  # the longest name and a blank
_QUIET = (EventType.STARTING, EventType.STOPPING)
_STYLES = {
    EventType.READY: ("✓", "green", ""),
    EventType.STOPPED: ("✓", "green", "stopped"),
    EventType.EXITED: ("!", "yellow", ""),
    EventType.HUNG: ("!", "yellow", "hangs:"),
    EventType.RESTARTING: ("…", "yellow", "restarts"),
    EventType.WAITING: ("…", "yellow", "waiting"),
    EventType.FAILED: ("✗", "red", ""),
    EventType.ABSENT: ("-", "dim", ""),
}


def line(event: StackEvent) -> str | None:
    """A line of rich markup; None for an event that only programs need."""
    if event.event_type in _QUIET:
        return None
    sign, style, phrase = _STYLES[event.event_type]
    text = " ".join(filter(None, (phrase, escape(event.text))))
    return f"[{style}]{sign}[/{style}] {event.service:<{_WIDTH}}{text}"


def console_reporter(console: Console) -> OnEvent:
    """A listener that prints each event."""

    def report(event: StackEvent) -> None:
        text = line(event)
        if text is not None:
            console.print(text, soft_wrap=True, highlight=False)

    return report


class DownloadProgress:
    """Shows the first download: a bar on a terminal, otherwise a line at each quarter."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._total = 0
        self._done = 0
        self._reported = 0
        self._bar: Progress | None = None

    def start(self, total_bytes: int) -> None:
        self._total, self._done, self._reported = total_bytes, 0, 0
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("[green]↓[/green] Kafka, once"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.add_task("Kafka", total=total_bytes)
            self._bar.start()
        else:
            self._print(f"↓ Kafka       {_megabytes(total_bytes)} to download, once")

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self._done)
                return
            quarter = self._done * 4 // self._total if self._total else 0
            if self._reported < quarter < 4:
                self._reported = quarter
                self._print(f"↓ Kafka       {_megabytes(self._done)} of {_megabytes(self._total)}")

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._done >= self._total:
            self._print(f"✓ Kafka       {_megabytes(self._total)} downloaded and verified")

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
