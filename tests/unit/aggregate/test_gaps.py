"""What retention removed too early stops a partition, or is passed over and kept on record."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection

import pytest
from prometheus_client import CollectorRegistry

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.gaps import Gap, gap_before
from services.aggregate.kafka.gaps import ForgottenIdsError, GapError, GapPolicy
from services.aggregate.kafka.partition_manager import PartitionManager
from services.aggregate.kafka.self_metrics import SelfMetrics
from services.aggregate.kafka.stored_entries import StoredEntries
from services.aggregate.kafka.warm_up import InconsistentStoreError, StateLoader
from tests.support.in_memory import MemoryKafka, MemorySource, MemoryStorage

DEDUP_WINDOW = DedupWindow(1_000, 2)
Worker = Callable[..., tuple[PartitionManager, MemorySource]]


def like(number: int) -> bytes:
    """A record of one event."""
    event = {
        "kind": "interaction", "v": 1, "event_id": f"tw-{number}", "occurred_at": 1_782_120_600_000,
        "platform": "twitter", "account": "GansuTravel", "action": "like",
    }  # fmt: skip
    return json.dumps([event]).encode()


@pytest.fixture
def kafka() -> MemoryKafka:
    """A log of 10 records in partition 0."""
    kafka = MemoryKafka()
    for number in range(10):
        kafka.append(0, like(number))
    return kafka


@pytest.fixture
def worker(kafka: MemoryKafka) -> Worker:
    """Makes a worker that owns nothing yet."""

    def make(
        *, accept: bool = False, dedup_window: DedupWindow = DEDUP_WINDOW
    ) -> tuple[PartitionManager, MemorySource]:
        source, storage, policy = MemorySource(kafka), MemoryStorage(kafka), GapPolicy(accept=accept)
        manager = PartitionManager(
            source,
            storage.open,
            StateLoader(storage, dedup_window, policy),
            SelfMetrics(CollectorRegistry()),
            policy,
        )
        source.subscribe(manager)
        return manager, source

    return make


async def count_all(manager: PartitionManager, source: MemorySource) -> None:
    while await source.poll():
        pass
    await manager.flush()


def test_a_gap_is_what_the_log_lacks_before_its_first_record() -> None:
    """None where the log begins at or before the next record."""
    assert gap_before(5, 5, 1) is None
    assert gap_before(5, 0, 1) is None
    gap = gap_before(5, 9, 1)
    assert gap == Gap(5, 9, 1)
    assert gap.records == 4


async def test_records_removed_before_they_were_counted_stop_the_worker(
    kafka: MemoryKafka, worker: Worker
) -> None:
    """Of a partition that was never counted, and of one whose records behind the checkpoint are gone."""
    kafka.remove_before(0, 4)
    _, source = worker()
    with pytest.raises(GapError, match=r"4 records \(offsets 0 to 3\).*FANPULSE_AGGREGATE_ACCEPT_GAPS=true"):
        await source.assign(0)


async def test_an_accepted_gap_is_counted_after_and_kept_on_record(
    kafka: MemoryKafka, worker: Worker
) -> None:
    """The rest counts. The next worker, which accepts no gaps, finds this one on record, and no other."""
    kafka.remove_before(0, 4)
    manager, source = worker(accept=True)
    await source.assign(0)
    await count_all(manager, source)
    assert manager.owned[0].state.counted == 6
    manager, source = worker()
    await source.assign(0)
    state = manager.owned[0].state
    assert [(gap.begin, gap.end) for gap in state.gaps] == [(0, 4)]
    assert (state.counted, state.offset) == (6, 9)


async def test_an_accepted_gap_is_stored_though_nothing_follows(kafka: MemoryKafka, worker: Worker) -> None:
    """All of the log is gone: the checkpoint stands at its end, so that the gap is told once."""
    kafka.remove_before(0, 10)
    manager, source = worker(accept=True)
    await source.assign(0)
    await manager.flush()
    assert kafka.committed[0] == 10
    manager, source = worker()
    await source.assign(0)
    assert manager.owned[0].state.gaps[0].records == 10


async def test_a_gap_that_opens_while_the_worker_runs_stops_it(kafka: MemoryKafka, worker: Worker) -> None:
    """Retention overtakes a worker that lags: it says so, instead of going on with the next record."""
    manager, source = worker()
    await source.assign(0)
    await source.poll(most=3)
    kafka.remove_before(0, 7)
    with pytest.raises(GapError, match=r"4 records \(offsets 3 to 6\)"):
        await source.poll()
    assert manager.owned[0].state.counted == 3


async def test_an_accepted_gap_that_opens_while_the_worker_runs_is_passed_over(
    kafka: MemoryKafka, worker: Worker
) -> None:
    """The records after it count, each once."""
    manager, source = worker(accept=True)
    await source.assign(0)
    await source.poll(most=3)
    kafka.remove_before(0, 7)
    await count_all(manager, source)
    state = manager.owned[0].state
    assert [(gap.begin, gap.end) for gap in state.gaps] == [(3, 7)]
    assert (state.counted, state.offset) == (6, 9)


async def test_offsets_without_a_record_are_no_gap(kafka: MemoryKafka, worker: Worker) -> None:
    """Transaction markers: nothing was removed."""
    kafka.leave_gap(0)
    kafka.append(0, like(10))
    manager, source = worker()
    await source.assign(0)
    await count_all(manager, source)
    state = manager.owned[0].state
    assert (state.counted, state.gaps) == (11, [])


async def test_a_stream_may_begin_behind_records_of_others(kafka: MemoryKafka, worker: Worker) -> None:
    """What the topic had lost before the stream was founded is not missing."""
    kafka.stream_begins[0] = 4
    kafka.remove_before(0, 4)
    manager, source = worker()
    await source.assign(0)
    await count_all(manager, source)
    state = manager.owned[0].state
    assert (state.counted, state.gaps) == (6, [])


async def test_ids_that_were_removed_stop_a_restart(kafka: MemoryKafka, worker: Worker) -> None:
    """Duplicates of removed events could no longer be found. Accepted, it says of how many."""
    manager, source = worker()
    await source.assign(0)
    await count_all(manager, source)
    kafka.remove_before(0, 4)
    _, source = worker()
    with pytest.raises(ForgottenIdsError, match=r"4 events.*FANPULSE_AGGREGATE_ACCEPT_GAPS=true"):
        await source.assign(0)
    manager, source = worker(accept=True)
    await source.assign(0)
    assert manager.owned[0].state.forgotten_ids == 4
    assert manager.owned[0].state.gaps == []


async def test_a_log_that_ends_before_its_checkpoint_stops_a_restart(
    kafka: MemoryKafka, worker: Worker
) -> None:
    """Its end was lost, or it is another log: to count on would leave out what comes next."""
    manager, source = worker()
    await source.assign(0)
    await count_all(manager, source)
    kafka.ends[0] = 5
    _, source = worker(accept=True)
    with pytest.raises(InconsistentStoreError, match=r"up to offset 9, but the log ends before 5"):
        await source.assign(0)


class PausedStorage(MemoryStorage):
    """The storage of a worker that is paused once it has read the entries; ``meanwhile`` happens then."""

    def __init__(self, kafka: MemoryKafka, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__(kafka)
        self._meanwhile: Callable[[], Awaitable[None]] | None = meanwhile

    async def read_entries(
        self, into: StoredEntries, partitions: Collection[int], most_bytes: int | None = None
    ) -> None:
        """As Storage.read_entries."""
        await super().read_entries(into, partitions, most_bytes)
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()


@pytest.mark.parametrize("removed", [0, 4])
async def test_a_worker_paused_while_it_loads_finds_no_loss(
    kafka: MemoryKafka, worker: Worker, removed: int
) -> None:
    """Another one has counted meanwhile, and retention may have removed some of that: nothing is missing."""
    dedup_window = DedupWindow(4, 1)

    async def meanwhile() -> None:
        manager, source = worker(dedup_window=dedup_window)
        await source.assign(0)
        await count_all(manager, source)
        kafka.remove_before(0, removed)

    manager, source = worker(dedup_window=dedup_window)
    await source.assign(0)
    await source.poll(1)
    await manager.flush()
    states = await StateLoader(PausedStorage(kafka, meanwhile), dedup_window).load([0])
    assert states[0].offset == (9 if removed else 0)  # the other one stands at 9, whatever this one thinks


async def test_a_loss_is_believed_when_it_is_read_twice(kafka: MemoryKafka, worker: Worker) -> None:
    """The group's offset is ahead of the totals, and stays so."""
    manager, source = worker()
    await source.assign(0)
    await count_all(manager, source)
    kafka.totals[0].clear()
    _, source = worker()
    with pytest.raises(InconsistentStoreError, match="records of the totals were lost"):
        await source.assign(0)
