"""Brings the alerts of engagement.alerts.v1 to one channel, at least once and in order."""

from __future__ import annotations

import time
from typing import Never

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from schemas.alerts import ALERT, Milestone, Retraction, Spike
from schemas.topics import ALERTS, qualified
from services.alerts.delivery import Channel, DeliveryError
from services.alerts.metrics import AlertsMetrics
from services.runtime.kafka import broker_unavailable, make_consumer, partitions_of
from services.runtime.readiness import Failing
from services.runtime.settings import Settings

GROUP = "fanpulse-alerts-delivery"
_POLL_MS = 500
#: The broker drops the offsets of a group that has committed nothing for some days.
_COMMIT_AGAIN_SECONDS = 3600.0

log = structlog.get_logger(__name__)


class Dispatcher:
    """Delivers the alerts that its channel has not had yet. A consumer group per channel keeps the position.

    Each channel has its own dispatcher, so a slow or dead channel delays neither the others nor the deciding.
    A new channel begins with the alerts decided after its first start.
    """

    def __init__(
        self, settings: Settings, channel: Channel, metrics: AlertsMetrics, delivering: Failing
    ) -> None:
        """``delivering`` is told what becomes of each delivery."""
        self._settings = settings
        self._channel = channel
        self._metrics = metrics
        self._delivering = delivering
        self._consumer: AIOKafkaConsumer = make_consumer(
            settings,
            group_id=qualified(settings.namespace, f"{GROUP}-{channel.name}"),
            fetch_max_wait_ms=_POLL_MS,
        )
        self._committed_at = 0.0

    async def open(self) -> None:
        """Commit where this channel begins. Call it before anything is decided.

        Raises BrokerUnavailableError.
        """
        try:
            await self._consumer.start()
            topic = qualified(self._settings.namespace, ALERTS.name)
            partitions = await partitions_of(self._consumer, topic)
            # Assigned, not subscribed: one partition and one service need no rebalance and no wait for one.
            self._consumer.assign(partitions)
            ends = await self._consumer.end_offsets(partitions)
            for partition in partitions:
                committed = await self._consumer.committed(partition)
                self._consumer.seek(partition, ends[partition] if committed is None else committed)
            await self._commit()
        except KafkaError as error:
            raise broker_unavailable(self._settings.kafka.bootstrap, error) from error

    async def run(self) -> Never:
        """Deliver until cancelled. Raises KafkaError if the broker no longer keeps the position."""
        while True:
            batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=1)
            for records in batches.values():
                for record in records:
                    await self._take(record.offset, record.value)
                await self._commit()
            if time.monotonic() - self._committed_at > _COMMIT_AGAIN_SECONDS:
                await self._commit()

    async def _take(self, offset: int, value: bytes | None) -> None:
        if value is None:
            return
        try:
            alert = ALERT.validate_json(value)
        except ValidationError as error:
            self._metrics.unreadable.labels("alerts").inc()
            log.warning("alert_unreadable", offset=offset, error=error.errors(include_url=False)[0]["msg"])
            return
        await self._deliver(alert)

    async def _deliver(self, alert: Milestone | Retraction | Spike) -> None:
        name = self._channel.name
        if not isinstance(alert, Spike) and alert.superseded_by is not None:
            self._metrics.suppressed.labels(name).inc()
            return
        try:
            await self._channel.deliver(alert)
        except DeliveryError as error:
            self._metrics.failures.labels(name).inc()
            self._delivering.failed(str(error))
            log.error("alert_not_delivered", channel=name, alert=alert.id, text=alert.text, error=str(error))
        else:
            self._metrics.delivered.labels(name).inc()
            self._delivering.succeeded()

    async def _commit(self) -> None:
        """Commit the position of the consumer: before the next alert."""
        partitions = self._consumer.assignment()
        await self._consumer.commit({each: await self._consumer.position(each) for each in partitions})
        self._committed_at = time.monotonic()

    async def close(self) -> None:
        """Close consumer and channel. What was not committed is delivered again at the next start."""
        await self._consumer.stop()
        await self._channel.close()
