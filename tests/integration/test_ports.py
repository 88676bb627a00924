"""The contract of the aggregator's ports, on the twins in memory and on real Kafka.

What a test of the aggregator proves with the twins holds only as far as they behave as Kafka does; so each
claim here is made of both.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

import services.aggregate.kafka.source as faust_source
from schemas.topics import EVENTS, REJECTED, qualified
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.kafka.partition_manager import PartitionManager
from services.aggregate.kafka.ports import (
    FencedError,
    PartitionListener,
    PartitionSource,
    Storage,
    StoreShrunkError,
)
from services.aggregate.kafka.process_end import OrderlyEnd
from services.aggregate.kafka.self_metrics import SelfMetrics
from services.aggregate.kafka.storage import KafkaStorage
from services.aggregate.kafka.stored_entries import StoredEntries
from services.aggregate.kafka.warm_up import StateLoader
from services.runtime.kafka import make_producer
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, read_topic
from tests.support.in_memory import MemoryKafka, MemorySource, MemoryStorage

pytestmark = pytest.mark.filterwarnings("default")  # Faust's own are not the subject
PATIENCE_SECONDS = 60.0
#: More than a broker takes, however well it is compressed.
TOO_LARGE = random.Random(1).randbytes(2_000_000)


class Backend(Protocol):
    """Kafka, or what stands for it."""

    storage: Storage

    async def append(self, partition: int, *values: bytes) -> None:
        """Write records of the log."""

    async def append_before_a_gap(self, partition: int, value: bytes) -> None:
        """Write a record; the offset after it has none."""

    async def remove_before(self, partition: int, offset: int) -> None:
        """Retention removes the records of the log before an offset."""

    async def dead_letters(self) -> list[bytes]:
        """Those committed."""

    def source(self) -> PartitionSource:
        """A worker's source; it has not joined the group."""

    async def join(self, source: PartitionSource) -> None:
        """The worker starts, and gets all partitions."""

    async def leave(self, source: PartitionSource) -> None:
        """The worker stops; its partitions are revoked."""

    async def until(self, claim: Callable[[], bool]) -> None:
        """Wait until a claim holds while records are delivered; AssertionError if it does not in time."""


class InMemory:
    """The twins."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka()
        self.storage: Storage = MemoryStorage(self.kafka)
        self._sources: list[MemorySource] = []

    async def append(self, partition: int, *values: bytes) -> None:
        for value in values:
            self.kafka.append(partition, value)

    async def append_before_a_gap(self, partition: int, value: bytes) -> None:
        self.kafka.append(partition, value)
        self.kafka.leave_gap(partition)

    async def remove_before(self, partition: int, offset: int) -> None:
        self.kafka.remove_before(partition, offset)

    async def dead_letters(self) -> list[bytes]:
        return self.kafka.dead_letters

    def source(self) -> PartitionSource:
        return MemorySource(self.kafka)

    async def join(self, source: PartitionSource) -> None:
        assert isinstance(source, MemorySource)
        self._sources.append(source)
        await source.assign(*range(self.kafka.partition_count))

    async def leave(self, source: PartitionSource) -> None:
        assert isinstance(source, MemorySource)
        self._sources.remove(source)
        await source.revoke()

    async def until(self, claim: Callable[[], bool]) -> None:
        for _ in range(100):
            if claim():
                return
            for source in self._sources:
                await source.poll(most=2)
        raise AssertionError("not in time")

    async def close(self) -> None:
        """Nothing is left running."""


class RealKafka:
    """Faust, aiokafka and a broker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._events = qualified(settings.namespace, EVENTS.name)
        self.storage: Storage = KafkaStorage(settings)
        self._sources: list[faust_source.FaustSource] = []

    async def append(self, partition: int, *values: bytes) -> None:
        producer = make_producer(self._settings)
        await producer.start()
        for value in values:
            await producer.send_and_wait(self._events, value, partition=partition)
        await producer.stop()

    async def append_before_a_gap(self, partition: int, value: bytes) -> None:
        producer = make_producer(self._settings, transactional_id=f"{self._settings.namespace}-test")
        await producer.start()
        async with producer.transaction():
            await producer.send_and_wait(self._events, value, partition=partition)
        await producer.stop()

    async def remove_before(self, partition: int, offset: int) -> None:
        admin = AdminClient({"bootstrap.servers": self._settings.kafka.bootstrap})
        for future in admin.delete_records([TopicPartition(self._events, partition, offset)]).values():
            await asyncio.wrap_future(future)

    async def dead_letters(self) -> list[bytes]:
        topic = qualified(self._settings.namespace, REJECTED.name)
        return [record.value or b"" for record in await read_topic(self._settings, topic)]

    def source(self) -> PartitionSource:
        return faust_source.FaustSource(self._settings)

    async def join(self, source: PartitionSource) -> None:
        assert isinstance(source, faust_source.FaustSource)
        self._sources.append(source)
        await source.app.start()
        wanted = set(await self.storage.partitions())
        await self.until(lambda: source.assignment() == wanted and not source.rebalancing())

    async def leave(self, source: PartitionSource) -> None:
        assert isinstance(source, faust_source.FaustSource)
        self._sources.remove(source)
        await source.app.stop()

    async def until(self, claim: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not claim():
            assert time.monotonic() < deadline, "not in time"
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """End what still runs."""
        for source in list(self._sources):
            await self.leave(source)


@pytest.fixture(params=["memory", "kafka"])
def _unopened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> InMemory | RealKafka:
    if request.param == "memory":
        return InMemory()

    def fail(reason: str, error: BaseException | None = None) -> None:
        raise AssertionError(f"the process would have ended: {reason}") from error

    # The worker is this process, which must not end with it.
    monkeypatch.setattr(faust_source, "exit_process", fail)
    monkeypatch.setattr(OrderlyEnd, "end_after", lambda *_: None)
    return RealKafka(request.getfixturevalue("settings"))


@pytest.fixture
async def backend(_unopened: InMemory | RealKafka) -> AsyncIterator[Backend]:
    """Both, one after the other."""
    yield _unopened
    await _unopened.close()


class Recorder:
    """A listener that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.records: list[tuple[int, int, bytes | None]] = []

    async def on_assigned(self, partitions: Iterable[int]) -> None:
        """As PartitionListener.on_assigned."""
        self.told.append(f"assigned {len(list(partitions))}")

    async def on_revoked(self) -> None:
        """As PartitionListener.on_revoked."""
        self.told.append("revoked")

    async def count(self, partition: int, offset: int, timestamp: float, data: bytes | None) -> bool:
        """As PartitionListener.count."""
        assert self.told[-1].startswith("assigned"), "a record of a partition that is not ours"
        self.records.append((partition, offset, data))
        return True

    async def close(self) -> None:
        """As PartitionListener.close."""
        self.told.append("closed")

    def offsets(self, partition: int) -> list[int]:
        """Of the records of a partition, as they came."""
        return [offset for found, offset, _ in self.records if found == partition]


def like(event_id: str) -> bytes:
    """A record of one event."""
    event = {
        "kind": "interaction", "v": 1, "event_id": event_id, "occurred_at": 1_782_120_600_000,
        "platform": "twitter", "account": "GansuTravel", "action": "like",
    }  # fmt: skip
    return json.dumps([event]).encode()


class Managed:
    """The aggregator's own listener; some records get lost on their way to it, each once."""

    def __init__(self, backend: Backend, source: PartitionSource, *lost: int) -> None:
        loader = StateLoader(backend.storage, DedupWindow(1_000, 2))
        metrics = SelfMetrics(CollectorRegistry())
        self.manager = PartitionManager(source, backend.storage.open, loader, metrics)
        self._lost = set(lost)
        self.left_out: list[int] = []
        self.on_assigned = self.manager.on_assigned
        self.on_revoked, self.close = self.manager.on_revoked, self.manager.close

    async def count(self, partition: int, offset: int, timestamp: float, data: bytes | None) -> bool:
        """As PartitionListener.count."""
        if offset in self._lost:
            self._lost.discard(offset)
            return True
        going_on = await self.manager.count(partition, offset, timestamp, data)
        if not going_on:
            self.left_out.append(offset)
        return going_on

    def counted(self, partition: int) -> int:
        """Events of a partition that count; -1 if the partition is not ours."""
        owned = self.manager.owned.get(partition)
        return owned.state.counted if owned else -1


async def join(backend: Backend, listener: PartitionListener) -> PartitionSource:
    """A worker with a listener of the test's own."""
    source = backend.source()
    source.subscribe(listener)
    await backend.join(source)
    return source


async def join_managed(backend: Backend, *lost: int) -> tuple[Managed, PartitionSource]:
    """A worker that counts."""
    source = backend.source()
    managed = Managed(backend, source, *lost)
    source.subscribe(managed)
    await backend.join(source)
    return managed, source


async def entries(backend: Backend, partition: int) -> dict[bytes, bytes]:
    """What is stored of a partition."""
    found = StoredEntries()
    await backend.storage.read_entries(found, [partition])
    return found.of(partition)


# -- stores -------------------------------------------------------------------------------------------------


async def test_an_old_owner_is_fenced(backend: Backend) -> None:
    """Once another store has fenced, an older one commits nothing; those of other partitions do."""
    old, new, other = backend.storage.open(0), backend.storage.open(0), backend.storage.open(1)
    await old.fence()
    await old.commit([(b"a", b"1")], 1, [])
    await other.fence()
    await new.fence()
    with pytest.raises(FencedError):
        await old.commit([(b"a", b"old")], 9, [b"letter of the old owner"])
    await new.commit([(b"b", b"2")], 2, [])
    await other.commit([(b"c", b"3")], 3, [])
    for store in (old, new, other):
        await store.close()
    assert await entries(backend, 0) == {b"a": b"1", b"b": b"2"}
    assert await entries(backend, 1) == {b"c": b"3"}
    assert await backend.storage.committed_offsets() == {0: 2, 1: 3}
    assert await backend.dead_letters() == []


async def test_a_commit_that_fails_stores_nothing(backend: Backend) -> None:
    """Neither the changes before the one that fails, nor dead letters, nor the offset."""
    failing, following = backend.storage.open(0), backend.storage.open(0)
    await failing.fence()
    with pytest.raises(Exception, match=r"(?i)too.?(large|small)"):
        await failing.commit([(b"a", b"1"), (b"b", TOO_LARGE)], 5, [b"dead letter"])
    await following.fence()
    assert await entries(backend, 0) == {}
    assert await backend.storage.committed_offsets() == {}
    assert await backend.dead_letters() == []
    await following.commit([(b"a", b"1")], 5, [b"dead letter"])
    assert await entries(backend, 0) == {b"a": b"1"}
    assert await backend.storage.committed_offsets() == {0: 5}
    assert await backend.dead_letters() == [b"dead letter"]
    for store in (failing, following):
        await store.close()


async def test_the_latest_entries_are_read(backend: Backend) -> None:
    """Of each key the value committed last; removed ones are not there. Reading goes on where it ended."""
    store, found = backend.storage.open(0), StoredEntries()
    await store.fence()
    await store.commit([(b"a", b"1"), (b"b", b"1"), (b"c", b"1")], 1, [])
    await backend.storage.read_entries(found, [0], most_bytes=1)
    await backend.storage.read_entries(found, [0])
    assert found.of(0) == {b"a": b"1", b"b": b"1", b"c": b"1"}
    await store.commit([(b"a", b"22"), (b"b", None)], 2, [])
    await backend.storage.read_entries(found, [0])
    assert found.of(0) == await entries(backend, 0) == {b"a": b"22", b"c": b"1"}
    assert found.bytes == 3
    await store.close()


async def test_totals_that_end_early_are_noticed(backend: Backend) -> None:
    """What was read before and is no longer there makes reading on fail."""
    found = StoredEntries()
    found.take([Record(0, 99, 0, b"a", b"1")])
    with pytest.raises(StoreShrunkError):
        await backend.storage.read_entries(found, [0])


async def test_the_tail_is_what_lies_between_two_offsets(backend: Backend) -> None:
    """In order, without the end; offsets without a record are passed over."""
    await backend.append(0, b"0", b"1")
    await backend.append_before_a_gap(0, b"2")
    await backend.append(0, b"4", b"5")
    found = [record async for batch in backend.storage.tail({0: 1}, {0: 5}) for record in batch]
    assert [(record.offset, record.value) for record in found] == [(1, b"1"), (2, b"2"), (4, b"4")]
    assert (await backend.storage.log_spans())[0].begin == 0


async def test_what_retention_removes_is_no_longer_spanned(backend: Backend) -> None:
    """The first offset moves on, in the storage and in the source; the end stays."""
    await backend.append(0, b"[0]", b"[1]", b"[2]")
    source = await join(backend, Recorder())
    await backend.until(lambda: source.highwater(0) == 3)
    await backend.remove_before(0, 2)
    span = (await backend.storage.log_spans())[0]
    assert (span.begin, span.end) == (2, 3)
    assert await source.log_begin(0) == 2
    assert await source.log_begin(1) == 0
    assert await source.first_offset(0, 0) == 2
    assert backend.storage.stream_begin(0) == 0


# -- sources ------------------------------------------------------------------------------------------------


async def test_records_come_in_order_once_partitions_are_assigned(backend: Backend) -> None:
    """From the beginning if nothing is committed, those of each partition in order; then the end is known."""
    await backend.append(0, b"[0]", b"[1]", b"[2]")
    await backend.append(1, b"[3]")
    recorder = Recorder()
    source = await join(backend, recorder)
    await backend.until(lambda: len(recorder.records) == 4)
    await backend.append(0, b"[4]")
    await backend.until(lambda: len(recorder.records) == 5)
    assert recorder.offsets(0) == [0, 1, 2, 3]
    assert recorder.offsets(1) == [0]
    assert [data for partition, _, data in recorder.records if partition == 0] == [
        b"[0]",
        b"[1]",
        b"[2]",
        b"[4]",
    ]
    assert source.assignment() == set(await backend.storage.partitions())
    assert source.highwater(0) == 4
    assert source.highwater(1_000) is None
    assert source.membership_problem() is None
    assert not source.rebalancing()
    await backend.leave(source)
    assert "revoked" in recorder.told or "closed" in recorder.told


async def test_a_source_fetches_from_where_it_is_told(backend: Backend) -> None:
    """After `fetch_from` the records from there on come again, in order."""
    await backend.append(0, b"[0]", b"[1]", b"[2]")
    recorder = Recorder()
    source = await join(backend, recorder)
    await backend.until(lambda: len(recorder.records) == 3)
    await source.fetch_from(0, 1)
    await backend.until(lambda: len(recorder.records) == 5)
    assert recorder.offsets(0) == [0, 1, 2, 1, 2]


async def test_the_first_offset_is_that_of_a_record(backend: Backend) -> None:
    """Offsets without a record are passed over; after the last record it is the end."""
    await backend.append(0, b"[0]")
    await backend.append_before_a_gap(0, b"[1]")
    await backend.append(0, b"[3]")
    source = await join(backend, Recorder())
    assert [await source.first_offset(0, at) for at in (0, 1, 2, 3, 4)] == [0, 1, 3, 3, 4]


# -- what the aggregator makes of them ----------------------------------------------------------------------


async def test_after_a_revocation_records_come_again_from_the_committed_offset(backend: Backend) -> None:
    """What the old owner had read and not committed comes to the new one; nothing before it does."""
    await backend.append(0, *map(like, "abcde"))
    recorder, following = Recorder(), Recorder()
    source = await join(backend, recorder)
    await backend.until(lambda: len(recorder.records) == 5)
    store = backend.storage.open(0)
    await store.fence()
    await store.commit([(b"a", b"1")], 3, [])
    await store.close()
    await backend.leave(source)
    await join(backend, following)
    await backend.until(lambda: len(following.records) == 2)
    assert following.offsets(0) == [3, 4]


async def test_a_new_owner_goes_on_where_the_old_one_stored(backend: Backend) -> None:
    """Every event counts once across a change of owners, and an id seen by the old one is a duplicate."""
    await backend.append(0, *map(like, "abc"))
    managed, source = await join_managed(backend)
    await backend.until(lambda: managed.counted(0) == 3)
    await backend.leave(source)
    assert managed.manager.owned == {}
    await backend.append(0, *map(like, "cd"))
    following, _ = await join_managed(backend)
    await backend.until(lambda: following.counted(0) == 4)
    state = following.manager.owned[0].state
    assert (state.offset, state.counted, state.duplicates) == (4, 4, 1)
    assert state.counters.actions(("account", "twitter", "GansuTravel")) == {"like": 4}


async def test_entries_that_are_no_events_are_stored_with_the_offset(backend: Backend) -> None:
    """A dead letter is there once the offset after its record is committed, and only once."""
    await backend.append(0, like("a"), b"not json")
    managed, source = await join_managed(backend)
    await backend.until(lambda: managed.counted(0) == 1 and managed.manager.owned[0].state.rejected == 1)
    assert await backend.dead_letters() == []
    await managed.manager.flush()
    assert await backend.storage.committed_offsets() == {0: 2}
    assert [json.loads(each)["offset"] for each in await backend.dead_letters()] == [1]
    await backend.leave(source)
    following, _ = await join_managed(backend)
    await backend.until(lambda: following.counted(0) == 1)
    await following.manager.flush()
    assert len(await backend.dead_letters()) == 1


async def test_a_stale_record_is_skipped_and_what_it_skips_is_fetched(backend: Backend) -> None:
    """Records lost on their way are noticed by the next one, which does not count before them; a gap that the
    log itself has is none."""
    await backend.append_before_a_gap(0, like("a"))
    await backend.append(0, *map(like, "bcdef"))
    managed, _ = await join_managed(backend, 3, 4)
    await backend.until(lambda: managed.counted(0) == 6)
    assert managed.left_out[0] == 5
    state = managed.manager.owned[0].state
    assert (state.offset, state.duplicates) == (6, 0)
