"""Records reach the counting by the handful: fetched ahead, in order, with turns for others."""

from __future__ import annotations

import asyncio
import sys
import time
from types import SimpleNamespace

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.structs import ConsumerRecord, TopicPartition

import services.aggregate.kafka.app as app
import services.aggregate.kafka.consumer as consumer


def record(offset: int) -> ConsumerRecord[bytes, bytes]:
    """A record of partition 3, written at second 1000 + offset."""
    return ConsumerRecord(
        "engagement.events.v1", 3, offset, (1_000 + offset) * 1000, 0, None, b"[%d]" % offset, 0, -1, 3, ()
    )


def test_what_is_decompressed_is_not_copied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka takes a buffer from the function that it is given, and the values are right."""
    unpacking = sys.modules[DefaultRecordBatch.__module__]
    assert unpacking.zstd_decode is cramjam.zstd.decompress  # type: ignore[attr-defined]
    given: list[cramjam.Buffer] = []

    def decompress(data: bytes) -> cramjam.Buffer:
        given.append(cramjam.zstd.decompress(data))
        return given[-1]

    monkeypatch.setattr(unpacking, "zstd_decode", decompress)
    values = [b"like " * 1000, b"repost " * 1000]
    builder = DefaultRecordBatchBuilder(2, DefaultRecordBatch.CODEC_ZSTD, True, -1, -1, -1, 10**6)
    for offset, value in enumerate(values):
        builder.append(offset, 1_000, None, value, [])
    assert [record.value for record in DefaultRecordBatch(builder.build())] == values
    assert len(given) == 1


class Counted:
    """Notes what it is given; a record from ``stale`` on does not follow what was counted."""

    def __init__(self, stale: int, seconds: float = 0.0) -> None:
        self.given: list[tuple[int, int, float, bytes | None]] = []
        self._stale = stale
        self._seconds = seconds

    async def count(self, partition: int, offset: int, timestamp: float, data: bytes | None) -> bool:
        """As Ownership.count."""
        self.given.append((partition, offset, timestamp, data))
        time.sleep(self._seconds)  # noqa: ASYNC251 # counting holds the loop
        return offset < self._stale


def test_a_handful_is_one_message_that_stands_where_its_last_record_does() -> None:
    """Faust orders messages by offset, and asks for the size and time of each."""
    records = [record(offset) for offset in (5, 6, 9)]
    message = consumer._as_one(records)
    assert (message.partition, message.offset, message.timestamp) == (3, 9, 1_009_000)
    assert message.value == records
    assert records[-1].value == b"[9]"


def test_records_of_a_handful_are_counted_in_order() -> None:
    """Each with its own offset, value and time, in seconds."""
    counted = Counted(stale=100)
    asyncio.run(app._count([record(offset) for offset in (5, 6, 9)], counted))  # type: ignore[arg-type]
    assert counted.given == [(3, at, 1_000.0 + at, b"[%d]" % at) for at in (5, 6, 9)]


def test_what_follows_a_stale_record_is_left_out() -> None:
    """It was fetched before a rebalance too, and to find that out anew asks the broker each time."""
    counted = Counted(stale=6)
    asyncio.run(app._count([record(offset) for offset in (5, 6, 7, 8)], counted))  # type: ignore[arg-type]
    assert [offset for _, offset, _, _ in counted.given] == [5, 6]


def test_others_get_a_turn_within_a_handful() -> None:
    """A scrape does not wait for all of it."""
    counted = Counted(stale=100, seconds=app.TIME_SLICE_SECONDS)
    time_slices: list[int] = []

    async def other() -> None:
        while True:
            time_slices.append(len(counted.given))
            await asyncio.sleep(0)

    async def run() -> None:
        task = asyncio.create_task(other())
        await app._count([record(offset) for offset in range(5)], counted)  # type: ignore[arg-type]
        task.cancel()

    asyncio.run(run())
    assert time_slices[: 4 * app.YIELDS : app.YIELDS] == [1, 2, 3, 4]


class Assignment:
    """As aiokafka's: another object after each rebalance."""


class Thread(consumer.ConsumerThread):
    """Fetches the next of given polls; no broker, and nothing of Faust's around it."""

    def __init__(self, *polls: dict[TopicPartition, list[int]]) -> None:
        self.consumer = SimpleNamespace(flow_active=True)
        self.polls = list(polls)
        self.gate = asyncio.Event()  # polls wait for it
        self.gate.set()
        self.sought: list[tuple[TopicPartition, int]] = []
        self.subscription = SimpleNamespace(assignment=Assignment())
        self.client = SimpleNamespace(
            _subscription=SimpleNamespace(subscription=self.subscription),
            seek=lambda partition, offset: self.sought.append((partition, offset)),
        )

    async def _poll(self, *_: object) -> consumer.Polled:
        await self.gate.wait()
        found = self.polls.pop(0) if self.polls else {}
        return {tp: [consumer._as_one([record(at) for at in offsets])] for tp, offsets in found.items()}

    async def offsets(self, *active: TopicPartition) -> list[int]:
        """What Faust is given when it asks for records of partitions."""
        found = await self._fetch_records(self.client, set(active), timeout=1.0)
        await asyncio.sleep(0)  # what is fetched ahead gets its turn
        return [each.offset for message in found.values() for each in message[0].value]


ONE, OTHER = TopicPartition("engagement.events.v1", 3), TopicPartition("engagement.events.v1", 4)


async def test_the_next_records_are_fetched_before_they_are_asked_for() -> None:
    """So there are always some to count."""
    thread = Thread({ONE: [5, 6]}, {ONE: [7]})
    assert await thread.offsets(ONE) == [5, 6]
    assert thread.polls == []
    assert await thread.offsets(ONE) == [7]
    assert await thread.offsets(ONE) == []


async def test_what_was_fetched_ahead_of_a_rebalance_is_void() -> None:
    """After it the position is what was committed, which may be before or after these."""
    thread = Thread({ONE: [5]}, {ONE: [6]}, {ONE: [3, 4]})
    assert await thread.offsets(ONE) == [5]
    thread.subscription.assignment = Assignment()
    assert await thread.offsets(ONE) == [3, 4]


async def test_what_was_fetched_ahead_through_a_rebalance_is_kept() -> None:
    """A poll that waits may get records of the new assignment, which aiokafka gives out only once."""
    thread = Thread({ONE: [5]}, {ONE: [0, 1]})
    first = asyncio.create_task(thread.offsets(ONE))
    await asyncio.sleep(0)  # the first poll has ended, the one ahead has not begun
    thread.gate.clear()
    assert await first == [5]
    assert thread.polls == [{ONE: [0, 1]}]
    thread.subscription.assignment = Assignment()
    thread.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert thread.polls == []
    assert await thread.offsets(ONE) == [0, 1]


async def test_nothing_is_handed_on_while_a_rebalance_lasts() -> None:
    """Faust would wait for it for ever; what was fetched ahead is kept until then."""
    thread = Thread({ONE: [5]}, {ONE: [6]})
    assert await thread.offsets(ONE) == [5]
    thread.consumer.flow_active = False
    assert await thread.offsets(ONE) == []
    thread.consumer.flow_active = True
    assert await thread.offsets(ONE) == [6]


async def test_records_of_a_paused_partition_are_fetched_again() -> None:
    """Faust drops them without a word, and aiokafka takes them to be consumed."""
    thread = Thread({ONE: [5]}, {ONE: [6], OTHER: [8, 9]})
    assert await thread.offsets(ONE, OTHER) == [5]
    assert await thread.offsets(ONE) == [6]
    assert thread.sought == [(OTHER, 8)]
