"""Shows the board of a stream, once or until it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rich.console import Console

from fanpulse.board.background import run_with_background
from fanpulse.board.feed import Feed
from fanpulse.board.health import HealthWatch
from fanpulse.board.live import display, print_once
from fanpulse.board.model import Board
from fanpulse.board.screen import ViewContext
from schemas.hashtags import AliasTable
from schemas.topics import ALERTS, TOTALS, qualified
from services.runtime.settings import Settings
from services.runtime.topic_scan import open_reader


class WatchSession:
    """Shows the stream that ``settings`` name. ``aliases`` give hashtags their display names."""

    def __init__(self, settings: Settings, aliases: Mapping[str, tuple[str, ...]], console: Console) -> None:
        self._settings = settings
        self._console = console
        self._board = Board(AliasTable(aliases))
        self._health = HealthWatch(settings)
        self._display = display(console, self._board, lambda: self._context("Ctrl-C ends"))
        self._feed = Feed(settings, self._board, self._display.alert)

    async def follow(self) -> None:
        """Show the board until cancelled. Raises TopicMissingError and BrokerUnavailableError."""
        await self._check_topics()
        await run_with_background(self._show(), self._feed.run(), self._health.run())

    async def print_once(self) -> None:
        """Print the board as it is now. Raises TopicMissingError and BrokerUnavailableError."""
        await self._check_topics()
        await run_with_background(self._print_snapshot(), self._feed.run())

    async def _show(self) -> None:
        await self._feed.loaded.wait()
        await self._display.run()

    async def _print_snapshot(self) -> None:
        await asyncio.gather(self._feed.loaded.wait(), self._health.probe())
        print_once(self._console, self._board, self._context(""))

    async def _check_topics(self) -> None:
        """Raise TopicMissingError at once for a missing topic, without creating it."""
        async with open_reader(self._settings) as reader:
            for topic in (TOTALS, ALERTS):
                await reader.spans(qualified(self._settings.namespace, topic.name))

    def _context(self, hint: str) -> ViewContext:
        return ViewContext(self._settings.namespace, self._health.latest, hint=hint)
