"""The demo from its first line to its last: a fresh stream, a stack, the rehearsal, the report."""

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
from fanpulse.simulate.fresh import fresh_broker, fresh_topics, only_demo
from fanpulse.simulate.run import DemoRun
from fanpulse.simulate.scenario import Scenario
from fanpulse.simulate.setting import demo_settings
from fanpulse.simulate.verdict import Outcome
from services.runtime import logging as service_logging
from services.runtime.settings import CONFIG_VARIABLE, PREFIX, Settings
from services.supervise.events import EventType, StackEvent

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. ``speed`` is event time by real time, 0 is as fast as it goes."""

    once: bool
    report: Path | None
    seed: int
    speed: float
    minutes: int


class Demo:
    """One demo. Make it with the user's settings, before anything runs."""

    def __init__(self, loaded: Settings, options: Options, console: Console) -> None:
        self._settings = demo_settings(loaded)
        self._state_paths = StatePaths.of(self._settings)
        self._options = options
        self._console = console
        self._report_event = console_reporter(console)
        self._absent: dict[str, str] = {}
        self._running = False

    async def run(self) -> bool:
        """Run it; whether the verdict is good. With ``once`` it ends by itself, else when it is cancelled.

        Nothing is left running, however it ends. Raises BusyError, StackError, PlayError, SettingsError and
        BrokerUnavailableError.
        """
        options = self._options
        with only_demo(self._state_paths):
            self._console.print(opening(options.seed, options.speed, options.minutes), soft_wrap=True)
            scenario = Scenario(options.seed, options.minutes)
            writing = asyncio.create_task(asyncio.to_thread(lambda: scenario.items))
            await self._prepare()
            stack = Stack(
                self._settings,
                extra_env={CONFIG_VARIABLE: str(self._empty_config())},
                on_event=self._tell,
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
        self._running = self._console.is_terminal
        try:
            return await demo_run.run(stack.wait())
        finally:
            self._running = False

    def _report(self, outcome: Outcome) -> None:
        self._console.print(closing(outcome), highlight=False, soft_wrap=not self._console.is_terminal)
        if self._options.report is not None:
            self._options.report.write_text(json.dumps(outcome.as_json(), indent=2) + "\n")

    def _tell(self, event: StackEvent) -> None:
        """Stack events are lines of their own, except while the board has the screen and shows them."""
        log.info("stack_event", event_type=event.event_type, service=event.service, text=event.text)
        if event.event_type is EventType.ABSENT:
            self._absent[event.service] = event.text
        elif not self._running:
            self._report_event(event)

    def _empty_config(self) -> Path:
        """A settings file without settings: the user's own is not for the services of a demo."""
        path = self._state_paths.state_dir / "stack" / f"{self._state_paths.name}.toml"
        path.write_text("# The demo's services get their settings from the command that runs them.\n")
        return path


def forget_user_variables() -> None:
    """Take the user's settings out of this process's environment, once they are read.

    What the demo leaves unset, such as a webhook, would else come to its services from there.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]


def log_to_file(settings: Settings) -> None:
    """This process's log goes to a file: the terminal is the board's."""
    service_logging.configure("info", "json")
    path = StatePaths.of(demo_settings(settings)).log("demo")
    path.parent.mkdir(parents=True, exist_ok=True)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(path.open("w"))
