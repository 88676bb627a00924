"""Shows the board until it is cancelled: on the whole screen of a terminal, as lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment

from fanpulse.board import plain
from fanpulse.board.model import AlertLine, Board, Snapshot
from fanpulse.board.screen import ViewContext, compose

#: Time between two frames, and between two lines without a terminal.
_FRAME_SECONDS = 0.25
_LINE_SECONDS = 3.0
_FALLBACK_HEIGHT = 30


class Display(Protocol):
    """Shows a board until it is cancelled."""

    async def run(self) -> None:
        """Show the board."""

    def alert(self, line: AlertLine) -> None:
        """Called for each new alert."""


class Frame:
    """One picture of the board, as large as the terminal at the time of drawing."""

    def __init__(self, snapshot: Snapshot, context: ViewContext, height: int | None = None) -> None:
        self._snapshot = snapshot
        self._context = context
        self._height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = self._height or options.height or console.height
        lines = compose(self._snapshot, self._context, options.max_width, height)
        for number, line in enumerate(lines):
            yield from line.render(console, end="")
            if number < len(lines) - 1:
                yield Segment.line()


class ScreenDisplay:
    """Draws four times a second on the terminal's alternate screen, and restores the terminal at the end."""

    def __init__(self, console: Console, board: Board, context: Callable[[], ViewContext]) -> None:
        self._console = console
        self._board = board
        self._context = context

    async def run(self) -> None:
        """Show the board until cancelled."""
        with Live(
            self._frame(), console=self._console, screen=True, auto_refresh=False, redirect_stderr=False
        ) as live:
            while True:
                live.update(self._frame(), refresh=True)
                await asyncio.sleep(_FRAME_SECONDS)

    def alert(self, line: AlertLine) -> None:
        """Do nothing: the next frame shows it."""

    def _frame(self) -> Frame:
        return Frame(self._board.snapshot(wall_ms()), self._context())


class LineDisplay:
    """Prints a summary every three seconds, and each alert as it arrives."""

    def __init__(self, console: Console, board: Board, context: Callable[[], ViewContext]) -> None:
        self._console = console
        self._board = board
        self._context = context

    async def run(self) -> None:
        """Print until cancelled."""
        while True:
            self._print(plain.summary(self._board.snapshot(wall_ms()), self._context()))
            await asyncio.sleep(_LINE_SECONDS)

    def alert(self, line: AlertLine) -> None:
        """Print the alert."""
        self._print(plain.alert(line))

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def display(console: Console, board: Board, context: Callable[[], ViewContext]) -> Display:
    """The display that fits the console."""
    fitting = ScreenDisplay if console.is_terminal else LineDisplay
    return fitting(console, board, context)


def print_once(console: Console, board: Board, context: ViewContext) -> None:
    """Print the board as it is now, as high as it needs to be."""
    snapshot = board.snapshot(wall_ms())
    if console.is_terminal:
        console.print(Frame(snapshot, context, max(_FALLBACK_HEIGHT, console.height - 1)))
    else:
        console.print(Frame(snapshot, context, _FALLBACK_HEIGHT), soft_wrap=True)


def wall_ms() -> int:
    """The wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000
