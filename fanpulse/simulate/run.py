"""One run of the demo: plays the scenario to a running stack, shows the board, and audits the result."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Console

from fanpulse.board.background import run_with_background
from fanpulse.board.feed import Feed
from fanpulse.board.health import HealthWatch
from fanpulse.board.live import display
from fanpulse.board.model import Board
from fanpulse.board.screen import DemoProgress, ViewContext
from fanpulse.simulate.organisation import MINUTE_MS, START_MS
from fanpulse.simulate.player import Player
from fanpulse.simulate.scenario import Scenario
from fanpulse.simulate.sent_counts import SentCounts
from fanpulse.simulate.verdict import Outcome, compare
from schemas.hashtags import AliasTable
from services.audit.recounting.result import AuditResult
from services.audit.service import audit
from services.runtime.settings import Settings

#: How long counting and alerts may take after the last event, including the restart of a service.
SETTLE_SECONDS = 60.0
_POLL_SECONDS = 0.1
#: The board stays for a moment after all is counted, so that you can read its last figures.
_LINGER_SECONDS = 1.5


class DemoRun:
    """One run against a stack that is ready, with the stack's ``settings`` and the ``url`` of ingest."""

    def __init__(
        self, settings: Settings, url: str, scenario: Scenario, speed: float, console: Console
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._speed = speed
        self._console = console
        self._player = Player(url, scenario.items, speed)
        self._board = Board(AliasTable(scenario.hashtag_aliases))
        self._health = HealthWatch(settings)
        self._display = display(console, self._board, self._context)
        self._feed = Feed(settings, self._board, self._display.alert)

    async def run(self, stack: Coroutine[Any, Any, None]) -> Outcome:
        """Play, show, wait until all is counted, audit. Raises PlayError and BrokerUnavailableError.

        ``stack`` runs in the background; its failure ends the run.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        sent_counts, result = await run_with_background(self._play_and_audit(), self._feed.run(), stack)
        return compare(self._scenario.expected, sent_counts, result, loop.time() - began)

    async def _play_and_audit(self) -> tuple[SentCounts, AuditResult]:
        sent_counts = await run_with_background(self._play(), self._health.run(), self._display.run())
        result = await self._audit()
        # The audit has waited for the last alerts; show them too.
        with contextlib.suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._feed.read_to_end()
        return sent_counts, result

    async def _play(self) -> SentCounts:
        await self._feed.loaded.wait()
        sent_counts = await self._player.run()
        # Bounded, since the audit that follows waits too, and reports what is missing.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._until_counted(sent_counts)
        if self._console.is_terminal:
            await asyncio.sleep(_LINGER_SECONDS)
        return sent_counts

    async def _until_counted(self, sent_counts: SentCounts) -> None:
        while True:
            if self._board.events_processed() >= sent_counts.accepted:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _audit(self) -> AuditResult:
        with self._console.status("auditing: recounting the log", spinner="dots") as status:
            return await audit(
                self._settings,
                settle_seconds=SETTLE_SECONDS,
                step=lambda text: status.update(f"auditing: {text}"),
            )

    def _context(self) -> ViewContext:
        sent_counts, span_ms = self._player.sent_counts, self._scenario.minutes * MINUTE_MS
        pace = f"{self._speed:g}x" if self._speed else "at full speed"
        return ViewContext(
            title=f"demo, seed {self._scenario.seed}",
            health=self._health.latest,
            demo_progress=DemoProgress(
                share=max(0.0, min(1.0, (self._player.event_time_ms - START_MS) / span_ms)),
                sent=sent_counts.sent,
                accepted=sent_counts.accepted,
                rejected=sent_counts.rejected.total(),
                note=pace,
                retry_reason=self._player.trouble,
            ),
            hint="Ctrl-C stops",
        )
