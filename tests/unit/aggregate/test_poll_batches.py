"""Records reach the counting in poll batches: fetched ahead, in order, with turns for other tasks."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import cramjam
import pytest
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.structs import ConsumerRecord, TopicPartition

import services.aggregate.kafka.consumer as consumer
import services.aggregate.kafka.source as source


def record(offset: int, partition: int = 3, size: int = 3) -> ConsumerRecord[bytes, bytes]:
    """A record, written at second 1000 + offset."""
    at_ms, value = (1_000 + offset) * 1000, b"[%d]" % offset
    return ConsumerRecord("engagement.events.v1", partition, offset, at_ms, 0, None, value, 0, -1, size, ())


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
        """As PartitionListener.count."""
        self.given.append((partition, offset, timestamp, data))
        time.sleep(self._seconds)  # noqa: ASYNC251 # counting holds the loop
        return offset < self._stale


def test_a_poll_batch_is_one_message_that_stands_where_its_last_record_does() -> None:
    """Faust orders messages by offset, and asks for the size and time of each."""
    records = [record(offset) for offset in (5, 6, 9)]
    message = consumer._as_one(records)
    assert (message.partition, message.offset, message.timestamp) == (3, 9, 1_009_000)
    assert message.value == records
    assert records[-1].value == b"[9]"


def test_records_of_a_poll_batch_are_counted_in_order() -> None:
    """Each with its own offset, value and time, in seconds."""
    counted = Counted(stale=100)
    asyncio.run(source.count_batch([record(offset) for offset in (5, 6, 9)], counted))  # type: ignore[arg-type]
    assert counted.given == [(3, at, 1_000.0 + at, b"[%d]" % at) for at in (5, 6, 9)]


def test_what_follows_a_stale_record_is_left_out() -> None:
    """It was fetched before a rebalance too, and finding that out again asks the broker each time."""
    counted = Counted(stale=6)
    asyncio.run(source.count_batch([record(offset) for offset in (5, 6, 7, 8)], counted))  # type: ignore[arg-type]
    assert [offset for _, offset, _, _ in counted.given] == [5, 6]


def test_other_tasks_get_a_turn_within_a_poll_batch() -> None:
    """A scrape does not wait for all of it."""
    counted = Counted(stale=100, seconds=source.TIME_SLICE_SECONDS)
    time_slices: list[int] = []

    async def other() -> None:
        while True:
            time_slices.append(len(counted.given))
            await asyncio.sleep(0)

    async def run() -> None:
        task = asyncio.create_task(other())
        await source.count_batch([record(offset) for offset in range(5)], counted)  # type: ignore[arg-type]
        task.cancel()

    asyncio.run(run())
    assert time_slices[: 4 * source.YIELDS : source.YIELDS] == [1, 2, 3, 4]


class Records:
    """Records of a partition as aiokafka unpacks them, one by one."""

    def __init__(self, partition: TopicPartition, offsets: list[int], size: int) -> None:
        self._records = iter([record(at, partition.partition, size) for at in offsets])
        self.next_fetch_offset = offsets[0]

    def __iter__(self) -> Iterator[ConsumerRecord[bytes, bytes]]:
        return self

    def __next__(self) -> ConsumerRecord[bytes, bytes]:
        found = next(self._records)
        self.next_fetch_offset = found.offset + 1
        return found


class Fetched(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher without a broker: what it has fetched is given to it, one answer at a time."""

    def __init__(self, *answers: dict[TopicPartition, list[int]], size: int) -> None:
        self._subscriptions = SubscriptionState()
        self._records = {}
        self._closed = False
        self._wait_consume_future = None
        self._size = size
        self.answers = list(answers)
        self.gate = asyncio.Event()  # a poll waits for it
        self.gate.set()
        self.rebalance()

    def __del__(self) -> None:
        """Nothing to close."""

    def rebalance(self) -> None:
        """The partitions are assigned again."""
        self._subscriptions.unsubscribe()
        self._subscriptions.assign_from_user({ONE, OTHER})

    def _notify(self, _: object) -> None:
        """Nobody waits for room."""

    async def fetched_records(self, *args: object, **options: object) -> object:
        """As aiokafka does it; when all that was fetched is taken, the next answer comes."""
        await self.gate.wait()
        if not self._records and self.answers:
            for partition, offsets in self.answers.pop(0).items():
                self._subscriptions.seek(partition, offsets[0])
                self._records[partition] = FetchResult(
                    partition,
                    assignment=self._subscriptions.subscription.assignment,
                    partition_records=Records(partition, offsets, self._size),
                    backoff=0,
                )
        return await super().fetched_records(*args, **options)


class Thread(consumer.ConsumerThread):
    """The consumer's thread without a broker and without Faust's consumer around it; nothing of what it does
    is replaced."""

    def __init__(self, *answers: dict[TopicPartition, list[int]], size: int = 3) -> None:
        self.consumer = SimpleNamespace(flow_active=True)
        self.fetcher = Fetched(*answers, size=size)
        self.sought: list[tuple[TopicPartition, int]] = []
        self.client = SimpleNamespace(
            _closed=False,
            _fetcher=self.fetcher,
            _subscription=self.fetcher._subscriptions,
            seek=lambda partition, offset: self.sought.append((partition, offset)),
        )

    async def poll(self, *active: TopicPartition) -> dict[int, list[int]]:
        """Offsets by partition that Faust is given when it asks for records of partitions."""
        found = await self._fetch_records(self.client, set(active), timeout=0)
        await asyncio.sleep(0)  # what is fetched ahead gets its turn
        for batch in found.values():
            assert len(batch) == 1, "one message of each partition"
        return {tp.partition: [each.offset for each in batch[0].value] for tp, batch in found.items()}

    async def offsets(self, *active: TopicPartition) -> list[int]:
        """The same of all partitions together."""
        return [offset for offsets in (await self.poll(*active)).values() for offset in offsets]


ONE, OTHER = TopicPartition("engagement.events.v1", 3), TopicPartition("engagement.events.v1", 4)
BOTH = (ONE, OTHER)


async def test_a_partition_with_a_backlog_lets_the_others_pass() -> None:
    """A poll takes a bounded number of records; a partition that has more comes last in the next one."""
    most = consumer.LEAST_POLL_RECORDS
    thread = Thread({ONE: list(range(100, 100 + 3 * most)), OTHER: [7, 8]}, size=consumer.POLL_BYTES)
    assert await thread.poll(*BOTH) == {3: list(range(100, 100 + most))}
    # The other partition has its turn now, and the one with the backlog gets what is left of the poll.
    assert await thread.poll(*BOTH) == {4: [7, 8], 3: list(range(100 + most, 100 + 2 * most - 2))}


async def test_small_records_are_taken_in_larger_batches() -> None:
    """As many as make POLL_BYTES by the size of the last ones, from LEAST_POLL_RECORDS to POLL_RECORDS."""
    for size, expected in (
        (3, consumer.POLL_RECORDS),
        (consumer.POLL_BYTES // 100, 100),
        (consumer.POLL_BYTES, consumer.LEAST_POLL_RECORDS),
    ):
        thread = Thread({ONE: list(range(2_000))}, size=size)
        assert len(await thread.offsets(ONE)) == consumer.LEAST_POLL_RECORDS, "the size is not known yet"
        assert len(await thread.offsets(ONE)) == expected


async def test_the_next_records_are_fetched_before_they_are_asked_for() -> None:
    """So there are always some to count."""
    thread = Thread({ONE: [5, 6]}, {ONE: [7]})
    assert await thread.offsets(ONE) == [5, 6]
    assert thread.fetcher.answers == []
    assert await thread.offsets(ONE) == [7]
    assert await thread.offsets(ONE) == []


async def test_what_was_fetched_ahead_of_a_rebalance_is_void() -> None:
    """After it the position is what was committed, which may be before or after these."""
    thread = Thread({ONE: [5]}, {ONE: [6]}, {ONE: [3, 4]})
    assert await thread.offsets(ONE) == [5]
    thread.fetcher.rebalance()
    assert await thread.offsets(ONE) == [3, 4]


async def test_what_was_fetched_ahead_through_a_rebalance_is_kept() -> None:
    """A poll that waits may get records of the new assignment, which aiokafka gives out only once."""
    thread = Thread({ONE: [5]}, {ONE: [0, 1]})
    first = asyncio.create_task(thread.offsets(ONE))
    await asyncio.sleep(0)  # the first poll has ended, the one ahead has not begun
    thread.fetcher.gate.clear()
    assert await first == [5]
    assert thread.fetcher.answers == [{ONE: [0, 1]}]
    thread.fetcher.rebalance()
    thread.fetcher.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert thread.fetcher.answers == []
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
