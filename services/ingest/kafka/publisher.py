"""Group commit: what arrives together is written together, and acknowledged by all replicas.

A flush starts when none is under way, and takes all that waits by then. So a single event on an idle service
goes out at once, and under load a flush grows to what arrived during the one before: no timer, and no setting
to tune.

The producer is idempotent: within its life a retry neither doubles nor reorders. It retries without end while
the broker is away; a request that waits too long for its acknowledgement is answered 503, although its events
may still be written later. (Such a 503 never means "not stored"; the event_id makes sending again safe.) A
record that the broker rejects for its size is divided (`oversize`), and comes after the rest of its flush;
only a request with an event that alone is too large fails. Any other error that the producer cannot retry is
fatal, since the order of a partition would be lost: all that waits fails, and the service ends and is started
again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from schemas.topics import BATCH_BYTES
from services.ingest.kafka.byte_limiter import ByteLimiter
from services.ingest.kafka.oversize import write_divided
from services.ingest.kafka.producer import (
    Batch,
    DeliveryError,
    RecordProducer,
    TooLargeError,
    Unsent,
)
from services.ingest.metrics import IngestMetrics
from services.ingest.pipeline.packing import Fragment, RecordLimits, next_record
from services.ingest.pipeline.publish_request import PublishRequest
from services.runtime.readiness import Fault

#: The most that Kafka adds to a record, beside its key and value.
_RECORD_OVERHEAD_BYTES = 36
#: How often requests that have waited too long are looked for.
SWEEP_SECONDS = 0.25
#: Batches are not made smaller than this, however small the broker wants them.
LEAST_BATCH_BYTES = 16 * 1024

_log = structlog.get_logger(__name__)


class PublishError(RuntimeError):
    """The events may or may not be stored; the sender is to try again."""


class OverloadedError(PublishError):
    """Too much waits for the broker already. Nothing of this request was stored."""


class AckTimeoutError(PublishError):
    """The broker has not acknowledged in time. The events may be stored later."""


class ProducerFailedError(PublishError):
    """The producer cannot go on, and the process must end."""


class RecordTooLargeError(PublishError):
    """The broker takes no record of this size. Other events of the request may be stored."""

    def __init__(self, topic: str, size: int) -> None:
        super().__init__(
            f"the broker takes no record of {size:,} bytes into {topic}: its max.message.bytes is too small, "
            "and `fanpulse stream mend` sets it"
        )


class Topics(NamedTuple):
    """Names of the topics written to, within the namespace."""

    events: str
    posts: str
    rejected: str


class PendingAck:
    """How many items of a request are still to be acknowledged, and the future that waits for them."""

    __slots__ = ("future", "left")

    def __init__(self, left: int, future: asyncio.Future[None]) -> None:
        self.left = left
        self.future = future


@dataclass(slots=True)
class QueuedItem:
    """What waits: a fragment of a record (``count`` events), or a record of its own (``count`` 0)."""

    pending: PendingAck
    data: bytes
    count: int
    key: bytes | None = None


@dataclass(slots=True)
class PartitionQueue:
    """What waits for one partition of one topic, in order."""

    topic: str
    partition: int
    items: list[QueuedItem] = field(default_factory=list)


@dataclass(slots=True)
class _Flush:
    """What one flush writes: at most a batch for each partition, so that a backlog goes out in portions."""

    batches: list[Batch] = field(default_factory=list)
    items: list[QueuedItem] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # of items, record by record
    size: int = 0

    def parts(self) -> Iterator[tuple[Unsent, list[QueuedItem]]]:
        """Each record with its items."""
        numbers, taken = iter(self.numbers), 0
        for topic, partition, records in self.batches:
            for _, value in records:
                number = next(numbers)
                yield Unsent(topic, partition, value), self.items[taken : taken + number]
                taken += number


class Publisher:
    """Writes publish requests through one producer. Not thread-safe; belongs to its event loop."""

    def __init__(
        self,
        make_producer: Callable[[Callable[[str], None], Callable[[str, str], None]], RecordProducer],
        topics: Topics,
        *,
        record_limits: RecordLimits,
        byte_limiter: ByteLimiter,
        ack_timeout_seconds: float,
        metrics: IngestMetrics,
    ) -> None:
        assert record_limits.bytes < BATCH_BYTES
        self._producer = make_producer(self._fail, self._note_trouble)
        self._trouble = ""
        self._flushing, self._flushing_since = _Flush(), 0.0
        self._batch_bytes: dict[str, int] = dict.fromkeys(topics, BATCH_BYTES)
        self._topics = topics
        self._record_limits = record_limits
        self._byte_limiter = byte_limiter
        self._ack_timeout = ack_timeout_seconds
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._events: list[PartitionQueue] = []
        self._posts = PartitionQueue(topics.posts, 0)
        self._dead_letters = PartitionQueue(topics.rejected, 0)
        self._deadlines: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._flush: asyncio.Task[None] | None = None
        self._scheduled = False
        self._sweeper: asyncio.Task[None] | None = None
        #: Gets the error once the producer cannot go on.
        self.failed: asyncio.Future[ProducerFailedError] = self._loop.create_future()

    @property
    def partitions(self) -> int:
        """Partitions of the topic of events; known once started."""
        return len(self._events)

    @property
    def appended_ms(self) -> int:
        """The broker's time of the record that was acknowledged last; 0 before the first."""
        return self._producer.appended_ms

    @property
    def unacknowledged_events(self) -> int:
        """Events that were handed over and are not acknowledged; clock records count as events."""
        queued = sum(item.count for queue in self._events for item in queue.items)
        return queued + (sum(item.count for item in self._flushing.items) if self._flush else 0)

    def unacknowledged(self, within_seconds: float) -> Fault | None:
        """Whether the broker has not acknowledged for longer than this what is being written."""
        if self._flush is None or time.monotonic() - self._flushing_since <= within_seconds:
            return None
        reason = "the broker does not acknowledge what ingest writes"
        return Fault(f"{reason}: {self._trouble}" if self._trouble else reason, self._flushing_since)

    def _note_trouble(self, name: str, text: str) -> None:
        self._trouble = text
        self._metrics.broker_trouble(name)

    async def start(self, partitions: int | None = None) -> None:
        """Connect. ``partitions`` are those of the stream; the topic may have more. None: all that it has.

        Raises BrokerUnavailableError if the broker cannot be reached or a topic is missing.
        """
        existing, *_ = await self._producer.start(self._topics)
        numbers = range(existing if partitions is None else partitions)
        self._events = [PartitionQueue(self._topics.events, number) for number in numbers]
        self._sweeper = self._loop.create_task(self._sweep())

    async def stop(self, timeout_seconds: float) -> bool:
        """Write out what waits, and disconnect. False if not all of it was acknowledged in time."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        try:
            async with asyncio.timeout(timeout_seconds):
                while (self._flush or self._has_items()) and not self.failed.done():
                    self._start_flush()
                    if self._flush is not None:
                        await asyncio.wait({self._flush})
        except TimeoutError:
            return False
        finally:
            await self._producer.stop()
        return not self.failed.done()

    def submit(self, request: PublishRequest) -> asyncio.Future[None]:
        """Queue a request; the future is done when all of it is acknowledged, or fails with a PublishError.

        Raises OverloadedError if there is no room for it, ProducerFailedError if the producer has failed.
        """
        if self.failed.done():
            raise self.failed.result()
        size = request.size
        if not self._byte_limiter.take(size):
            raise OverloadedError
        future: asyncio.Future[None] = self._loop.create_future()
        self._enqueue(request, future)
        self._deadlines.append((self._loop.time() + self._ack_timeout, future))
        return future

    def submit_everywhere(self, entry: bytes) -> asyncio.Future[None]:
        """Append one log entry to every partition, after all that was submitted before; has no time limit."""
        if self.failed.done():
            raise self.failed.result()
        request = PublishRequest([Fragment(queue.partition, entry, 1) for queue in self._events])
        size = request.size
        self._byte_limiter.force(size)
        future: asyncio.Future[None] = self._loop.create_future()
        self._enqueue(request, future)
        return future

    def _enqueue(self, request: PublishRequest, future: asyncio.Future[None]) -> None:
        left = request.items
        pending = PendingAck(left, future)
        # Posts go first: the record of a post must not be missing when its event is there.
        for key, value in request.posts:
            self._posts.items.append(QueuedItem(pending, value, 0, key))
        for each in request.fragments:
            self._events[each.partition].items.append(QueuedItem(pending, each.data, each.count))
        for dead_letter in request.dead_letters:
            self._dead_letters.items.append(QueuedItem(pending, dead_letter, 0))
        if not left:
            future.set_result(None)
        self._schedule()

    def _schedule(self) -> None:
        """Start a flush in the next turn of the loop, so that all requests of this turn share it."""
        if not self._scheduled and self._flush is None:
            self._scheduled = True
            self._loop.call_soon(self._start_flush)

    def _has_items(self) -> bool:
        return any(queue.items for queue in (*self._events, self._posts, self._dead_letters))

    def _start_flush(self) -> None:
        self._scheduled = False
        if self.failed.done() or self._flush is not None:
            return
        flush = _Flush()
        for queue in (self._posts, *self._events, self._dead_letters):
            if queue.items:
                self._fill(flush, queue)
        if not flush.items:
            return
        flush.size = sum([len(item.data) + len(item.key or b"") for item in flush.items])
        self._flushing, self._flushing_since = flush, time.monotonic()
        self._flush = self._loop.create_task(self._run(flush))
        self._flush.add_done_callback(self._flush_ended)

    def _flush_ended(self, _: asyncio.Task[None]) -> None:
        self._flush = None
        if self._has_items():
            self._schedule()

    def _fill(self, flush: _Flush, queue: PartitionQueue) -> None:
        """Move as many items of a queue into the flush as one batch holds, at least one."""
        records: list[tuple[bytes | None, bytes]] = []
        most, limits = self._batch_bytes[queue.topic], self._record_limits
        if most < limits.bytes:
            limits = RecordLimits(limits.events, most)
        taken = size = 0
        while taken < len(queue.items):
            first = queue.items[taken]
            if first.count:
                number, record = next_record(queue.items, taken, limits)
            else:
                number, record = 1, first.data
            size += len(record) + len(first.key or b"") + _RECORD_OVERHEAD_BYTES
            if records and size > most:
                break
            records.append((first.key, record))
            flush.numbers.append(number)
            taken += number
        flush.batches.append(Batch(queue.topic, queue.partition, records))
        flush.items += queue.items[:taken]
        del queue.items[:taken]

    async def _run(self, flush: _Flush) -> None:
        started = self._loop.time()
        try:
            await self._write(flush)
        except DeliveryError as error:
            self._fail(str(error))
            return
        self._trouble = ""
        self._byte_limiter.give(flush.size)
        for item in flush.items:
            pending = item.pending
            pending.left -= 1
            if not pending.left and not pending.future.done():
                pending.future.set_result(None)
        records = sum([len(batch.records) for batch in flush.batches])
        self._metrics.flushed(self._loop.time() - started, records)
        while self._deadlines and self._deadlines[0][1].done():
            self._deadlines.popleft()

    async def _write(self, flush: _Flush) -> None:
        """Write a flush; what the broker rejects for its size, item by item. Raises DeliveryError."""
        try:
            await self._producer.write(flush.batches)
        except TooLargeError as error:
            rejected = Counter(error.records)
        else:
            return
        for topic in {record.topic for record in rejected}:
            self._batch_bytes[topic] = max(LEAST_BATCH_BYTES, self._batch_bytes[topic] // 2)
        for record, items in flush.parts():
            if rejected[record]:
                rejected[record] -= 1
                for item in items:
                    await self._write_alone(record.topic, record.partition, item)

    async def _write_alone(self, topic: str, partition: int, item: QueuedItem) -> None:
        size = await write_divided(self._producer, topic, partition, item.key, item.data, item.count)
        if size:
            self._metrics.oversize.inc()
            _log.error("record_too_large", topic=topic, bytes=size, advice="fanpulse stream mend")
            if not item.pending.future.done():
                item.pending.future.set_exception(RecordTooLargeError(topic, size))

    def _fail(self, error: str) -> None:
        if self.failed.done():
            return
        failure = ProducerFailedError(f"the Kafka producer cannot go on: {error}")
        self.failed.set_result(failure)
        _log.error("producer_failed", error=error, reserved=self._byte_limiter.reserved)
        for _, future in self._deadlines:
            if not future.done():
                future.set_exception(failure)

    async def _sweep(self) -> None:
        """Fail the requests that have waited too long."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._loop.time()
            while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][1].done()):
                _, future = self._deadlines.popleft()
                if not future.done():
                    future.set_exception(AckTimeoutError())
