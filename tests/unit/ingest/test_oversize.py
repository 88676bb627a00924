"""A record that the broker rejects for its size fails its request alone; all others go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from services.ingest.http.asgi import _problem_of
from services.ingest.kafka.byte_limiter import ByteLimiter
from services.ingest.kafka.producer import Batch, DeliveryError, TooLargeError, Unsent
from services.ingest.kafka.publisher import (
    ProducerFailedError,
    Publisher,
    RecordTooLargeError,
    Topics,
)
from services.ingest.metrics import IngestMetrics
from services.ingest.pipeline.packing import Fragment, RecordLimits
from services.ingest.pipeline.publish_request import PublishRequest
from services.runtime.metrics import NamespacedRegistry

TOPICS = Topics("events", "posts", "rejected")


class Broker:
    """A producer and its broker, which judges batches by their bytes as Kafka does."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.log: list[tuple[str, int, bytes]] = []
        self.writes = 0
        self.away = asyncio.Event()
        self.away.set()
        self.error: DeliveryError | None = None
        self.appended_ms = 0

    async def start(self, topics: Sequence[str]) -> list[int]:
        """As RecordProducer.start."""
        return [2, 1, 1]

    async def write(self, batches: Sequence[Batch]) -> None:
        """As RecordProducer.write."""
        self.writes += 1
        await self.away.wait()
        if self.error:
            raise self.error
        large: list[Unsent] = []
        for topic, partition, records in batches:
            values = [value for _, value in records]
            if sum(map(len, values)) > self.most_bytes:
                large += [Unsent(topic, partition, value) for value in values]
            else:
                self.log += [(topic, partition, value) for value in values]
        if large:
            raise TooLargeError(large)

    async def stop(self) -> None:
        """As RecordProducer.stop."""

    def entries(self, partition: int) -> list[Any]:
        return [each for topic, p, value in self.log if (topic, p) == ("events", partition)
                for each in json.loads(value)]  # fmt: skip


@pytest.fixture
def registry() -> NamespacedRegistry:
    return NamespacedRegistry()


@pytest.fixture
async def broker() -> Broker:
    return Broker(2000)


@pytest.fixture
async def publisher(broker: Broker, registry: NamespacedRegistry) -> AsyncIterator[Publisher]:
    publisher = Publisher(
        lambda on_fatal, on_trouble: broker,  # type: ignore[arg-type,return-value]
        TOPICS,
        record_limits=RecordLimits(1000, 400_000),
        byte_limiter=ByteLimiter(10**7),
        ack_timeout_seconds=30,
        metrics=IngestMetrics(registry),
    )
    await publisher.start()
    yield publisher
    await publisher.stop(5)


def fragment(partition: int, *entries: Any) -> Fragment:
    return Fragment(partition, b",".join(json.dumps(each).encode() for each in entries), len(entries))


async def test_one_event_that_is_too_large_fails_its_request_alone(
    broker: Broker, publisher: Publisher, registry: NamespacedRegistry
) -> None:
    """Requests that were joined with it into a record are acknowledged, in order; the error says what to
    change, and the service goes on."""
    before = [publisher.submit(PublishRequest([fragment(0, f"a{n}")])) for n in range(3)]
    large = publisher.submit(PublishRequest([fragment(0, "x" * 3000), fragment(1, "other partition")]))
    after = [publisher.submit(PublishRequest([fragment(0, f"b{n}")])) for n in range(3)]
    await asyncio.gather(*before, *after)
    with pytest.raises(RecordTooLargeError, match=r"events: its max.message.bytes .*fanpulse stream mend"):
        await large
    assert broker.entries(0) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert broker.entries(1) == ["other partition"]
    assert not publisher.failed.done()
    await publisher.submit(PublishRequest([fragment(0, "later")]))
    assert broker.entries(0)[-1] == "later"
    assert registry.get_sample_value("fanpulse_ingest_oversize_records_total") == 1
    assert publisher._byte_limiter.reserved == 0


async def test_a_fragment_that_is_too_large_is_divided(broker: Broker, publisher: Publisher) -> None:
    """Its events are written in their order, in as many records as it takes: nobody is rejected."""
    entries = [f"{n:03d}" + "x" * 100 for n in range(300)]
    await publisher.submit(PublishRequest([fragment(0, *entries)]))
    assert broker.entries(0) == entries


async def test_two_events_that_are_too_large_together_are_written_apart(
    broker: Broker, publisher: Publisher
) -> None:
    """Dividing goes on down to single events."""
    entries = [f"{n}" + "x" * 1200 for n in range(2)]
    await publisher.submit(PublishRequest([fragment(0, *entries)]))
    assert broker.entries(0) == entries


async def test_batches_become_smaller_once_one_was_rejected(broker: Broker, publisher: Publisher) -> None:
    """A broker with a small limit is not asked again and again: flushes go through at once."""
    broker.most_bytes = 20_000
    for _ in range(8):
        await asyncio.gather(
            *(publisher.submit(PublishRequest([fragment(0, f"{n}" + "x" * 100)])) for n in range(800))
        )
    writes = broker.writes
    await asyncio.gather(
        *(publisher.submit(PublishRequest([fragment(0, f"{n}" + "x" * 100)])) for n in range(800))
    )
    assert broker.writes - writes < 10
    assert len(broker.entries(0)) == 9 * 800


async def test_a_post_or_dead_letter_that_is_too_large_fails_its_request(
    broker: Broker, publisher: Publisher
) -> None:
    """It is a record of its own, and cannot be divided."""
    large = publisher.submit(PublishRequest([fragment(0, "its event")], dead_letters=[b"y" * 3000]))
    small = publisher.submit(PublishRequest(dead_letters=[b"z"]))
    await small
    with pytest.raises(RecordTooLargeError, match=r"rejected: its max\.message\.bytes"):
        await large
    assert broker.entries(0) == ["its event"]


async def test_the_answer_is_413_and_says_what_to_change() -> None:
    """Sending less at a time may help the client; the operator reads which setting it is."""
    problem = _problem_of(RecordTooLargeError("events", 3000))
    assert problem.status == 413
    assert "max.message.bytes" in problem.detail
    assert "other events of the request may be stored" in problem.detail
    assert "retry-after" not in problem.headers


async def test_any_other_rejection_is_fatal(broker: Broker, publisher: Publisher) -> None:
    """The order of a partition would be lost: all that waits fails, and nothing more is accepted."""
    broker.error = DeliveryError("INVALID_TIMESTAMP: no")
    waiting = publisher.submit(PublishRequest([fragment(0, "a")]))
    with pytest.raises(ProducerFailedError, match="INVALID_TIMESTAMP"):
        await waiting
    with pytest.raises(ProducerFailedError):
        publisher.submit(PublishRequest([fragment(0, "b")]))


async def test_what_is_not_acknowledged_is_known(
    broker: Broker, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the broker is away: how many events wait, since when, and the last trouble with it."""
    now = [1000.0]
    monkeypatch.setattr("services.ingest.kafka.publisher.time.monotonic", lambda: now[0])
    broker.away.clear()
    waiting = [publisher.submit(PublishRequest([fragment(0, 1, 2)]))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.append(publisher.submit(PublishRequest([fragment(1, 3)])))
    now[0] += 30
    assert publisher.unacknowledged(30) is None
    publisher._note_trouble("_TRANSPORT", "rejected")
    now[0] += 1
    fault = publisher.unacknowledged(30)
    assert fault is not None
    assert fault.reason == "the broker does not acknowledge what ingest writes: rejected"
    assert fault.since == 1000
    assert publisher.unacknowledged_events == 3
    broker.away.set()
    await asyncio.gather(*waiting)
    assert publisher.unacknowledged(30) is None
    assert publisher.unacknowledged_events == 0
