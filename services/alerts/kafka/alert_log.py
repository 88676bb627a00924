"""The alert log, engagement.alerts.v1: every alert is written to it once, ever.

A writer first starts the transactional producer. That fences the writer before it and ends the transaction
that it left open. Only then it reads the log: what it finds is final. So an alert that is not in the log has
not been decided, and an alert that is decided again after a crash was never written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
)
from pydantic import ValidationError

from schemas.alerts import ALERT, Alert, Milestone, Retraction, Spike
from schemas.topics import ALERTS, qualified
from services.alerts.deciding.decided import Decided
from services.runtime.kafka import BrokerUnavailableError, broker_unavailable, make_producer
from services.runtime.settings import Settings
from services.runtime.stream import too_large
from services.runtime.topic_scan import read_topic

TRANSACTIONAL_ID = "fanpulse-alerts"
#: The first evaluation of a long stream may decide very many; a transaction must stay within its timeout.
MAX_PER_TRANSACTION = 1000

log = structlog.get_logger(__name__)


class FencedError(BrokerUnavailableError):
    """Another alerts service of the same namespace has taken over; this one must stop."""


class AlertLog:
    """What has been decided, and the only way to decide more. ``ids``: every alert on record.

    ``decided``: the milestones on record, and which were retracted.
    ``last_spikes``: number and minute of the last spike on record, per (broadcast, rule name).
    ``unreadable``: records of which only the id is known.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = qualified(settings.namespace, ALERTS.name)
        self._producer: AIOKafkaProducer = make_producer(
            settings,
            transactional_id=qualified(settings.namespace, TRANSACTIONAL_ID),
            request_timeout_ms=20_000,
        )
        self.decided = Decided()
        self.ids: set[str] = self.decided.ids
        self.last_spikes: dict[tuple[str, str], tuple[int, int]] = {}
        self.unreadable = 0

    async def open(self) -> None:
        """Become the only writer, then read the log. Raises BrokerUnavailableError."""
        try:
            await self._producer.start()  # returns once the broker has fenced the writer before
        except KafkaError as error:
            raise broker_unavailable(self._settings.kafka.bootstrap, error) from error
        for record in await read_topic(self._settings, self._topic):
            if record.key is not None and record.value is not None:
                self._take_in(record.offset, record.key, record.value)

    def _take_in(self, offset: int, key: bytes, value: bytes) -> None:
        self.ids.add(key.decode(errors="replace"))
        try:
            self._note(ALERT.validate_json(value))
        except ValidationError as error:
            # The key alone says that this id is decided.
            self.unreadable += 1
            log.warning("alert_unreadable", offset=offset, error=error.errors(include_url=False)[0]["msg"])

    def _note(self, alert: Alert) -> None:
        self.decided.note(alert)
        if isinstance(alert, Spike):
            last_of = (alert.subject[0], alert.rule)
            last = self.last_spikes.get(last_of, (0, -1))
            self.last_spikes[last_of] = max(last, (alert.number, alert.occurred_at))

    async def record(self, alerts: Sequence[Milestone | Retraction | Spike]) -> None:
        """Write alerts that are not on record yet; they are in ``ids`` afterwards.

        Raises FencedError if another service has taken over, StreamError if a record is too large for the
        topic, and KafkaError if the outcome is unknown. The process must then end: the next one reads the
        outcome from the log.
        """
        for start in range(0, len(alerts), MAX_PER_TRANSACTION):
            chunk = alerts[start : start + MAX_PER_TRANSACTION]
            assert not any(alert.id in self.ids for alert in chunk)
            try:
                await self._producer.begin_transaction()
                await self._send(chunk)
                await self._producer.commit_transaction()
            except asyncio.CancelledError:
                log.warning("alerts_unwritten", alerts=len(chunk), advice="the next start decides them again")
                raise
            except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
                raise too_large(self._settings, ALERTS) from error
            except ProducerFenced as error:
                raise FencedError(
                    "another alerts service of this namespace has taken over; this one stops"
                ) from error
            for alert in chunk:
                self._note(alert)

    async def _send(self, alerts: Sequence[Alert]) -> None:
        sent = [
            await self._producer.send(
                self._topic,
                partition=0,  # whoever adds partitions: readers that run know of none of them
                key=alert.id.encode(),
                value=alert.model_dump_json().encode(),
                timestamp_ms=alert.decided_at,
            )
            for alert in alerts
        ]
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def close(self) -> None:
        """Close the connection. Readers never see a transaction that is still open."""
        await self._producer.stop()
