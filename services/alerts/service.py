"""Composition root of the alerts service.

engagement.totals.v1 -> TotalsReader -> Figures -> Milestones, Spikes -> AlertLog -> engagement.alerts.v1
engagement.alerts.v1 -> Dispatcher -> Channel (terminal, webhook, ...), one dispatcher per channel
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Never

import structlog
from aiokafka.errors import KafkaError

from schemas.alerts import Milestone, Retraction, Spike
from schemas.hashtags import AliasTable
from schemas.topics import ALERTS, TOTALS
from services.alerts.deciding.figures import Figures
from services.alerts.deciding.milestones import Milestones
from services.alerts.deciding.spikes import Spikes
from services.alerts.delivery.dispatcher import Dispatcher
from services.alerts.delivery.registry import make_channels
from services.alerts.kafka.alert_log import AlertLog
from services.alerts.kafka.reader import TotalsReader
from services.alerts.metrics import AlertsMetrics
from services.alerts.rules_on_disk import load_rules
from services.runtime.kafka import broker_unavailable
from services.runtime.lifecycle import STOP_SECONDS, close_within, stop_event
from services.runtime.metrics import NamespacedRegistry
from services.runtime.readiness import Failing, Readiness
from services.runtime.settings import Settings
from services.runtime.stream import StreamCheck, open_stream
from services.runtime.web import Endpoint

log = structlog.get_logger(__name__)

#: How long each connection may take to close: the broker may be away.
CLOSE_SECONDS = 1.0
#: Subjects compared with the rules before other tasks get their turn.
SUBJECTS_PER_STEP = 2000


class AlertsService:
    """One alerts service. Exactly one per namespace decides: a second one fences the first."""

    def __init__(self, settings: Settings) -> None:
        """Make all parts; nothing is connected yet. Raises SettingsError."""
        self._settings = settings
        self._rules = load_rules(settings.alerts.rules)
        self.registry = NamespacedRegistry(settings.namespace)
        self.metrics = AlertsMetrics(self.registry, self._rules)
        self._channels = make_channels(settings.alerts, self.metrics, self._tried_again)
        self._delivering = {
            channel.name: Failing(
                f"deliveries by the channel {channel.name} fail", settings.alerts.failing_seconds
            )
            for channel in self._channels
        }
        self.metrics.begin(channel.name for channel in self._channels)
        self.readiness = Readiness(self.registry, "connecting to the broker")
        self.endpoint = Endpoint(
            self.registry,
            self.readiness,
            host=settings.alerts.metrics_host,
            port=settings.alerts.metrics_port,
        )

    def _tried_again(self, channel: str, problem: str) -> None:
        self._delivering[channel].failed(problem)

    async def run(self) -> None:
        """Decide and deliver until cancelled, which is safe at any moment.

        Raises SettingsError if the address of the endpoint is taken, BrokerUnavailableError if the broker
        cannot be reached or another service has taken over (FencedError), StreamError if the topics are not
        those of the stream, and KafkaError if it is unknown
        whether an alert was written: the next start finds out.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.endpoint)
            stream = await open_stream(self._settings, (TOTALS, ALERTS))
            check = StreamCheck(self._settings, stream)
            dispatchers = [
                Dispatcher(self._settings, channel, self.metrics, self._delivering[channel.name])
                for channel in self._channels
            ]
            for dispatcher in dispatchers:
                stack.push_async_callback(close_within, CLOSE_SECONDS, dispatcher.close, "channel")
                await dispatcher.open()
            self.readiness.enter("reading what has been decided")
            alert_log = AlertLog(self._settings)
            stack.push_async_callback(close_within, CLOSE_SECONDS, alert_log.close, "alert log")
            await alert_log.open()
            self.metrics.alert_log_size.set(len(alert_log.ids))
            self.metrics.unreadable.labels("alerts").inc(alert_log.unreadable)
            reader = await stack.enter_async_context(TotalsReader(self._settings, stream.partitions(TOTALS)))
            self.readiness.enter("reading the totals")
            self.readiness.require(
                check.broker.fault, reader.fetched.fault, *(each.fault for each in self._delivering.values())
            )
            log.info("alerts_start", decided=len(alert_log.ids), metrics=self.endpoint.url)
            await _together(
                self._decide(reader, alert_log),
                check.run(),
                self.readiness.watch(),
                *(dispatcher.run() for dispatcher in dispatchers),
            )

    async def _decide(self, reader: TotalsReader, alert_log: AlertLog) -> Never:
        figures = Figures(reader.partitions)
        milestones = Milestones(
            self._rules.milestone, alert_log.decided, AliasTable(self._settings.hashtag_aliases)
        )
        spikes = Spikes(self._rules.spike, alert_log.last_spikes)
        reading = True
        while True:
            for change in await reader.poll():
                unreadable = figures.feed(change.partition, change.key, change.value)
                if unreadable:
                    self.metrics.unreadable.labels("totals").inc(unreadable)
                    log.warning(
                        "totals_unreadable",
                        partition=change.partition,
                        up_to_offset=change.offset,
                        records=unreadable,
                    )
            self.metrics.lag_records.set(reader.lag_records())
            self.metrics.lag_seconds.set(reader.lag_seconds())
            # Only at the end: further back, compaction may already have removed entries that a checkpoint
            # belongs to, and a figure would differ from a recount.
            if reader.lag_records() == 0:
                await self._evaluate(figures, milestones, spikes, alert_log)
                reading = False
                self.readiness.enter(None)
            elif reading:
                self.readiness.enter(f"reading the totals: {reader.lag_records():,} records to go")

    async def _evaluate(
        self, figures: Figures, milestones: Milestones, spikes: Spikes, alert_log: AlertLog
    ) -> None:
        """Compare what has changed with the rules, and record what is decided, step by step.

        The figures do not change meanwhile. A crash between two steps loses nothing: what was not recorded
        follows from the figures again.
        """
        began, now_ms = time.perf_counter(), time.time_ns() // 1_000_000
        changed = list(figures.take_changed())
        await self._record(alert_log, spikes.decide(figures, now_ms))
        for start in range(0, len(changed), SUBJECTS_PER_STEP):
            step = changed[start : start + SUBJECTS_PER_STEP]
            await self._record(alert_log, milestones.retract(figures, step, now_ms))
            await self._record(alert_log, milestones.decide(figures, step, now_ms))
            await asyncio.sleep(0)  # after a long pause all subjects have changed; /healthz must still answer
        if changed:
            self.metrics.evaluation_seconds.observe(time.perf_counter() - began)

    async def _record(self, alert_log: AlertLog, alerts: Sequence[Milestone | Retraction | Spike]) -> None:
        if alerts:
            await alert_log.record(alerts)
            for alert in alerts:
                self.metrics.decided.labels(alert.kind, alert.rule).inc()
            self.metrics.alert_log_size.set(len(alert_log.ids))
            log.info("alerts_decided", alerts=len(alerts), last=alerts[-1].text)


async def _together(*work: Coroutine[Any, Any, Never]) -> None:
    """Run until cancelled, or until one fails: then cancel the others, and raise what it raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def run(settings: Settings) -> None:
    """Run until SIGTERM, SIGINT, or cancelled.

    Raises what AlertsService and its run raise, but BrokerUnavailableError for any KafkaError.
    """
    service = AlertsService(settings)
    stopped = asyncio.create_task(stop_event(STOP_SECONDS).wait())
    running = asyncio.create_task(service.run())
    try:
        await asyncio.wait({stopped, running}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        running.cancel()
        outcome, *_ = await asyncio.gather(running, return_exceptions=True)
    if isinstance(outcome, KafkaError):
        raise broker_unavailable(settings.kafka.bootstrap, outcome) from outcome
    if isinstance(outcome, Exception):
        raise outcome
    log.info("alerts_stopped")
