"""What the watchdog asks: a worker that cannot be looked at is not a healthy one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.kafka import pinned
from services.aggregate.kafka.health import BrokerContact, HealthChecks
from services.aggregate.kafka.partition_manager import PartitionManager
from services.aggregate.kafka.pinned import UnsupportedClientError
from services.aggregate.kafka.self_metrics import SelfMetrics
from services.aggregate.kafka.source import membership_problem
from services.aggregate.kafka.warm_up import StateLoader
from tests.support.in_memory import MemoryKafka, MemorySource, MemoryStorage

LIKE = (
    b'{"kind":"interaction","v":1,"event_id":"%d","occurred_at":1782120600000,"platform":"twitter",'
    b'"account":"GansuTravel","action":"like"}'
)


def member(ended: bool = False, error: Exception | None = None) -> SimpleNamespace:
    """As Faust's consumer in its group, as far as it is looked at."""
    coordinator = SimpleNamespace(
        _coordination_task=SimpleNamespace(done=lambda: ended), _pending_exception=error
    )
    consumer = SimpleNamespace(
        _coordinator=coordinator,
        _fetcher=SimpleNamespace(_records={}),
        _subscription=SimpleNamespace(subscription=None),
        last_poll_timestamp=lambda tp: None,
        _fetch_max_wait_ms=100,
    )
    return SimpleNamespace(_thread=SimpleNamespace(_consumer=consumer))


def test_a_member_of_the_group_has_no_problem() -> None:
    """Its task runs and holds no error."""
    assert membership_problem(member()) is None
    pinned.require_started(member())


def test_a_worker_that_left_its_group_has_one() -> None:
    """Its task has ended, or keeps an error that nobody reads."""
    assert membership_problem(member(ended=True)) == "the worker's membership of its group has ended"
    failed = membership_problem(member(error=RuntimeError("unknown member")))
    assert failed == "the worker's membership of its group has failed (unknown member)"


def test_a_worker_that_has_not_joined_yet_has_no_problem() -> None:
    """Before the start there is no consumer, no client in it, or no coordinator."""
    assert membership_problem(None) is None
    assert membership_problem(SimpleNamespace(_thread=SimpleNamespace(_consumer=None))) is None
    starting = member()
    starting._thread._consumer._coordinator = None
    assert membership_problem(starting) is None


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("", "_thread"),
        ("_thread", "_consumer"),
        ("_thread._consumer", "_coordinator"),
        ("_thread._consumer._coordinator", "_coordination_task"),
        ("_thread._consumer._coordinator", "_pending_exception"),
    ],
)
def test_an_attribute_that_is_gone_is_no_good_news(owner: str, name: str) -> None:
    """After an upgrade that renames what is looked at, the check fails, and so does the start."""
    renamed = found = member()
    for each in filter(None, owner.split(".")):
        found = getattr(found, each)
    delattr(found, name)
    with pytest.raises(UnsupportedClientError, match=f"has no {name}: faust-streaming 0.15"):
        membership_problem(renamed)
    with pytest.raises(UnsupportedClientError, match=f"has no {name}: faust-streaming 0.15"):
        pinned.require_started(renamed)


@pytest.mark.parametrize(("owner", "name"), [("_fetcher", "_records"), ("_subscription", "subscription")])
def test_the_start_needs_what_the_consumer_uses(owner: str, name: str) -> None:
    """Fetching ahead of the counting reads these."""
    renamed = member()
    delattr(getattr(renamed._thread._consumer, owner), name)
    with pytest.raises(UnsupportedClientError, match=f"has no {name}"):
        pinned.require_started(renamed)


def test_a_method_that_is_overridden_must_exist() -> None:
    """One that was renamed would never be called: the installed versions have all, and a lack is an error."""
    pinned.require_classes()

    class Renamed:
        """Lacks what is overridden."""

    with pytest.raises(UnsupportedClientError, match=r"Renamed has no _fetch_records, on_thread_stop"):
        pinned.require_classes({Renamed: ("_fetch_records", "on_thread_stop")})


def checked() -> tuple[HealthChecks, PartitionManager, MemorySource, MemoryKafka]:
    """A worker in memory."""
    kafka = MemoryKafka()
    source, storage = MemorySource(kafka), MemoryStorage(kafka)
    loader = StateLoader(storage, DedupWindow(1_000, 2))
    partition_manager = PartitionManager(source, storage.open, loader, SelfMetrics(CollectorRegistry()))
    source.subscribe(partition_manager)
    return HealthChecks(source, partition_manager), partition_manager, source, kafka


def test_a_partition_that_is_assigned_and_not_owned_is_a_problem() -> None:
    """Without a rebalance to come nobody counts it; with one under way that is how it should be."""
    checks, partition_manager, source, _ = checked()
    assert checks.ownership() is None
    asyncio.run(source.assign(0, 1, 2))
    assert checks.ownership() is None
    del partition_manager.owned[1]
    assert checks.ownership() == "partitions [1] are assigned but not owned"


def test_work_and_storing_follow_the_records() -> None:
    """Records that wait, records counted and not stored, and what moves when they are."""
    checks, partition_manager, source, kafka = checked()

    async def run() -> list[Any]:
        found = []
        await source.assign(0)
        for number in range(3):
            kafka.append(0, LIKE % number)
        found.append((checks.work(), checks.storing()))
        await source.poll(most=2)
        found.append((checks.work(), checks.storing()))
        await partition_manager.flush()
        found.append((checks.work(), checks.storing()))
        return found

    assert asyncio.run(run()) == [((3, -1), (0, -1)), ((1, 1), (2, -1)), ((1, 1), (0, 1))]


def test_membership_and_rebalance_are_those_of_the_source() -> None:
    """The checks pass on what the source says."""
    checks, _, source, _ = checked()
    assert (checks.group_membership(), checks.rebalance()) == (None, None)
    source.left = source._rebalancing = True
    assert checks.group_membership() == "the worker's membership of its group has ended"
    assert checks.rebalance() == "a rebalance does not end"


def test_contact_with_the_broker_is_fetches_and_transactions() -> None:
    """A partition that is not fetched, or whose counts are not stored, is a fault; one with a backlog that is
    counted is none, and neither is one that has nothing to store."""
    _, partition_manager, source, kafka = checked()
    now, fetched = [0.0], {0: 1, 1: 1}
    source.fetched_ms = lambda partition: fetched[partition]  # type: ignore[method-assign]
    contact = BrokerContact(source, partition_manager, within_seconds=30, clock=lambda: now[0])

    def faults(seconds: float) -> list[str]:
        now[0] += seconds
        contact.look()
        return [fault.reason for each in contact.conditions if (fault := each())]

    async def run() -> None:
        await source.assign(0, 1)
        assert faults(0) == []
        fetched[0] = 2
        assert faults(31) == ["the broker has answered no fetch of partitions 1"]
        kafka.append(1, LIKE % 1)
        await source.poll()
        fetched[0] = 3
        assert faults(31) == []
        fetched.update({0: 4, 1: 4})
        assert faults(31) == ["the broker has stored nothing of partitions 1"]
        await partition_manager.flush()
        assert faults(0) == []

    asyncio.run(run())
