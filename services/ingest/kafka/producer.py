"""The Kafka producer of ingest: librdkafka, which batches, compresses and retries in threads of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from schemas.topics import BATCH_BYTES
from services.runtime.kafka import BrokerUnavailableError, broker_unavailable
from services.runtime.librdkafka import librdkafka_options
from services.runtime.settings import Settings, SettingsError

_METADATA_SECONDS = 10.0
_POLL_SECONDS = 0.2
#: By the size of a record, of a batch, and of a batch beside a segment.
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)

_log = structlog.get_logger(__name__)


class DeliveryError(RuntimeError):
    """The broker rejected a record for good, or the producer cannot go on. The message is one line."""


class Unsent(NamedTuple):
    """A record that was not written."""

    topic: str
    partition: int
    value: bytes


class TooLargeError(DeliveryError):
    """The broker rejected records for their size, and took all others. ``records``: those rejected.

    The broker judges a batch, so a record may be here that it would take alone.
    """

    def __init__(self, records: Sequence[Unsent]) -> None:
        super().__init__(f"{len(records)} records were rejected for their size")
        self.records = records


class Batch(NamedTuple):
    """Records of one partition, in order: key and value of each."""

    topic: str
    partition: int
    records: Sequence[tuple[bytes | None, bytes]]


class RecordProducer:
    """An idempotent producer whose records are acknowledged by all replicas, for one event loop.

    It retries without end while the broker is away, and neither doubles nor reorders by that. ``on_fatal``
    is called in the event loop if it cannot go on; ``on_trouble`` gets the name and the text of each error
    that it goes on after, in a thread of its own.
    """

    def __init__(
        self,
        settings: Settings,
        on_fatal: Callable[[str], None],
        on_trouble: Callable[[str, str], None] = lambda name, text: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_fatal = on_fatal
        self._on_trouble = on_trouble
        self._address = settings.kafka.bootstrap
        self._stopping = threading.Event()
        #: The broker's time of the record that was acknowledged last, in epoch milliseconds; 0 before that.
        self.appended_ms = 0
        options = librdkafka_options(settings.kafka) | {
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "zstd",
            "linger.ms": 0,  # the publisher has collected what belongs together
            "batch.size": BATCH_BYTES,
            "message.timeout.ms": 0,  # no end of retries: to lose one record would be to lose the order
            # The publisher bounds what waits.
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 2_097_151,
            "reconnect.backoff.max.ms": 1000,
            "enable.metrics.push": False,
            "error_cb": self._on_error,
        }
        try:
            self._producer = Producer(options, logger=logging.getLogger("librdkafka"))
        except KafkaException as error:
            raise SettingsError(f"kafka: {error.args[0].str()}") from error
        self._thread = threading.Thread(target=self._poll, name="librdkafka-poll", daemon=True)

    async def start(self, topics: Sequence[str]) -> list[int]:
        """Connect; the number of partitions of each topic. Raises BrokerUnavailableError."""
        self._thread.start()
        try:
            metadata = await asyncio.to_thread(self._producer.list_topics, timeout=_METADATA_SECONDS)
        except KafkaException as error:
            raise broker_unavailable(self._address, error.args[0].str()) from error
        if missing := [name for name in topics if name not in metadata.topics]:
            raise BrokerUnavailableError(f"{self._address}: topic {missing[0]} does not exist")
        return [len(metadata.topics[name].partitions) for name in topics]

    def write(self, batches: Sequence[Batch]) -> asyncio.Future[None]:
        """Write records, those of a partition in order, also among calls.

        The future is done when all are acknowledged, or fails with DeliveryError. If it is a TooLargeError,
        what becomes of every record is known.
        """
        delivery = _Delivery(self, self._loop, sum(len(batch.records) for batch in batches))
        try:
            for topic, partition, records in batches:
                for key, value in records:
                    self._produce(delivery, topic, partition, key, value)
        except (KafkaException, BufferError) as error:
            delivery.fail(str(error))
        return delivery.future

    def _produce(
        self, delivery: _Delivery, topic: str, partition: int, key: bytes | None, value: bytes
    ) -> None:
        try:
            self._producer.produce(topic, value, key, partition, delivery.report)
        except KafkaException as error:  # librdkafka has a limit of its own
            if error.args[0].code() not in _TOO_LARGE:
                raise
            delivery.too_large(Unsent(topic, partition, value))

    async def stop(self) -> None:
        """Disconnect. What has not been acknowledged may or may not be written."""
        self._stopping.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)
        self._producer.purge()
        self._producer.poll(0)

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(_POLL_SECONDS)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._loop.call_soon_threadsafe(self._on_fatal, error.str())
        else:  # it tries again by itself
            self._on_trouble(error.name(), error.str())
            _log.warning("broker_trouble", error=error.str())


class _Delivery:
    """What is still to be acknowledged of one call of ``write``. Reports come in the polling thread."""

    __slots__ = ("_error", "_left", "_loop", "_producer", "_too_large", "future")

    def __init__(self, producer: RecordProducer, loop: asyncio.AbstractEventLoop, records: int) -> None:
        self._producer = producer
        self._loop = loop
        self._left = records
        self._error: str | None = None
        self._too_large: list[Unsent] = []
        self.future: asyncio.Future[None] = loop.create_future()

    def report(self, error: KafkaError | None, message: Message) -> None:
        """One record is acknowledged or lost."""
        if error is not None and error.code() in _TOO_LARGE:
            self.too_large(Unsent(message.topic() or "", message.partition() or 0, message.value() or b""))
            return
        self._left -= 1
        kind, appended_ms = message.timestamp()
        if error is None and kind == TIMESTAMP_LOG_APPEND_TIME:
            self._producer.appended_ms = appended_ms
        if error is not None:
            self._error = self._error or f"{error.name()}: {error.str()}"
        if not self._left or error is not None:
            self._loop.call_soon_threadsafe(self._settle)

    def too_large(self, record: Unsent) -> None:
        """One record is rejected for its size: the others go on."""
        self._left -= 1
        self._too_large.append(record)
        if not self._left:
            self._loop.call_soon_threadsafe(self._settle)

    def fail(self, error: str) -> None:
        """Not all of it could be handed to librdkafka."""
        self._error = error
        self._settle()

    def _settle(self) -> None:
        if self.future.done():
            return
        if self._error is not None:
            self.future.set_exception(DeliveryError(self._error))
        elif self._too_large:
            self.future.set_exception(TooLargeError(self._too_large))
        else:
            self.future.set_result(None)
