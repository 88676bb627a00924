"""The whole demo: a fresh stream, a stack, one run of the scenario, the report."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import structlog
from rich.console import Console

from fanpulse.devstack.console_reporter import DownloadProgress, console_reporter
from fanpulse.devstack.stack import Stack
from fanpulse.devstack.state_paths import StatePaths
from fanpulse.simulate.closing import addresses, closing, opening
from fanpulse.simulate.demo_settings import demo_settings
from fanpulse.simulate.fresh import demo_lock, fresh_broker, fresh_topics
from fanpulse.simulate.run import DemoRun
from fanpulse.simulate.scenario import Scenario
from fanpulse.simulate.verdict import Outcome
from services.runtime import logging as service_logging
from services.runtime.private import close_state, files_for_the_user, make_folder
from services.runtime.settings import CONFIG_VARIABLE, PREFIX, Settings
from services.supervise.events import EventType, StackEvent

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command. ``speed`` is event time by real time; 0 is as fast as possible."""

    once: bool
    report: Path | None
    seed: int
    speed: float
    minutes: int


class Demo:
    """One demo. Make it from the user's settings, before anything runs."""

    def __init__(self, loaded: Settings, options: Options, console: Console) -> None:
        self._settings = demo_settings(loaded)
        self._state_paths = StatePaths.of(self._settings)
        self._options = options
        self._console = console
        self._report_event = console_reporter(console)
        self._absent: dict[str, str] = {}
        self._board_shown = False

    async def run(self) -> bool:
        """Run the demo; returns whether the verdict is good. Without ``once`` it runs until cancelled.

        Nothing is left running, however it ends. Raises BusyError, StackError, PlayError, SettingsError and
        BrokerUnavailableError.
        """
        options = self._options
        with demo_lock(self._state_paths):
            self._console.print(opening(options.seed, options.speed, options.minutes), soft_wrap=True)
            scenario = Scenario(options.seed, options.minutes)
            writing = asyncio.create_task(asyncio.to_thread(lambda: scenario.items))
            await self._prepare()
            stack = Stack(
                self._settings,
                extra_env={CONFIG_VARIABLE: str(self._empty_config())},
                on_event=self._on_event,
                progress=DownloadProgress(self._console),
            )
            async with stack:
                await writing
                outcome = await self._play(stack, scenario)
                self._report(outcome)
                if not options.once:
                    self._console.print(addresses(stack.status(), self._absent), soft_wrap=True)
                    await stack.wait()
            return outcome.good

    async def _prepare(self) -> None:
        if self._settings.kafka.bootstrap is None:
            await fresh_broker(self._state_paths)
        else:
            await fresh_topics(self._settings)

    async def _play(self, stack: Stack, scenario: Scenario) -> Outcome:
        demo_run = DemoRun(stack.settings, stack.ingest_url, scenario, self._options.speed, self._console)
        self._board_shown = self._console.is_terminal
        try:
            return await demo_run.run(stack.wait())
        finally:
            self._board_shown = False

    def _report(self, outcome: Outcome) -> None:
        self._console.print(closing(outcome), highlight=False, soft_wrap=not self._console.is_terminal)
        if self._options.report is not None:
            with files_for_the_user():
                self._options.report.write_text(json.dumps(outcome.as_json(), indent=2) + "\n")

    def _on_event(self, event: StackEvent) -> None:
        """Print a stack event as a line, except while the board has the screen."""
        log.info("stack_event", event_type=event.event_type, service=event.service, text=event.text)
        if event.event_type is EventType.ABSENT:
            self._absent[event.service] = event.text
        elif not self._board_shown:
            self._report_event(event)

    def _empty_config(self) -> Path:
        """A settings file without settings, so that the services of a demo do not read the user's."""
        path = self._state_paths.state_dir / "stack" / f"{self._state_paths.name}.toml"
        path.write_text("# The demo's services get their settings from the command that starts them.\n")
        return path


def clear_user_environment() -> None:
    """Remove the user's settings from this process's environment, once they are read.

    The demo's services would otherwise inherit what the demo leaves unset, such as a webhook.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]


def log_to_file(settings: Settings) -> None:
    """Send this process's log to a file, since the board owns the terminal."""
    service_logging.configure("info", "json")
    close_state(settings.state_dir)
    path = StatePaths.of(demo_settings(settings)).log("demo")
    make_folder(path.parent)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(path.open("w"))
