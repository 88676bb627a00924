"""A partition with a backlog does not hold back the figures of the others, on a real broker.

What matters is how many events of the backlog are counted before an event of another partition, not how
long that takes. The worker itself says so: now and then the backlog has an entry that is not an event, and
so does each record of the other partition. The worker dates the dead letter of such an entry when it counts
the record, so the dead letters give the order of counting, however slow the machine and whoever looks on.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from schemas.topics import EVENTS, REJECTED, qualified
from services.runtime.kafka import make_producer
from services.runtime.settings import Settings
from services.runtime.topic_scan import read_topic
from tests.support import stream
from tests.support.ports import free_port
from tests.support.processes import Service, eventually

RECORDS = 40_000
#: So many events of the backlog are between two of its entries that are not events.
MARKED_EVENTS = 2_000
#: An event of another partition is counted before so many events of the backlog.
MOST_EVENTS = 100_000
NO_EVENT = {"kind": "interaction", "v": 1, "action": "like"}


class Marker(NamedTuple):
    """When the worker counted a record that has an entry which is not an event."""

    partition: int
    offset: int
    counted_at_ms: int


def record(name: str, account: str, events: int, *, marked: bool) -> bytes:
    """Likes of an account, and perhaps an entry that is not an event."""
    likes = [
        {
            "kind": "interaction", "v": 1, "event_id": f"{name}-{index}", "occurred_at": stream.START_MS,
            "platform": "twitter", "account": account, "action": "like", "hashtags": [],
        }
        for index in range(events)
    ]  # fmt: skip
    return json.dumps([*likes, NO_EVENT] if marked else likes).encode()


def backlog(size: int) -> Iterator[tuple[int, bytes]]:
    """Records of partition 0 with ``size`` events each."""
    marked_records = MARKED_EVENTS // size
    return (
        (0, record(f"hot-{number}", "GansuTravel", size, marked=number % marked_records == 0))
        for number in range(RECORDS)
    )


def counted(service: Service) -> dict[int, float]:
    """Events counted by partition."""
    return {
        int(name.rsplit('partition="', 1)[1].split('"')[0]): value
        for name, value in service.metrics().items()
        if name.startswith("fanpulse_events_counted_total{")
    }


async def markers(settings: Settings, count: int) -> list[Marker]:
    """All markers, in the order in which their records were counted, once they are stored."""
    async with asyncio.timeout(60):
        while True:
            stored = await read_topic(settings, qualified(settings.namespace, REJECTED.name))
            if len(stored) >= count:
                break
            await asyncio.sleep(0.1)
    found = [json.loads(each.value or b"") for each in stored]
    return sorted(
        (Marker(each["partition"], each["offset"], each["received_at"]) for each in found),
        key=lambda marker: marker.counted_at_ms,
    )


def stop(worker: Service) -> int:
    """Stop the worker where it is; the time after which it counted nothing more."""
    worker.signal(signal.SIGSTOP)
    process = psutil.Process(worker.process.pid)
    eventually(lambda: process.status() == psutil.STATUS_STOPPED, 10, "the worker is stopped")
    return time.time_ns() // 1_000_000


@pytest.mark.timeout(240)
@pytest.mark.parametrize("size", [5, 20])
async def test_other_partitions_do_not_wait_for_a_hot_one(
    settings: Settings, tmp_path: Path, size: int
) -> None:
    """40,000 records wait in partition 0: an event of partition 1 that was there before is counted before
    100,000 of their events, and one that comes in meanwhile is counted before another 100,000 of them."""
    await stream.produce(settings, backlog(size))
    await stream.produce(settings, [(1, record("first", "VisitGansu", 1, marked=True))])
    worker = Service(
        "aggregate",
        settings,
        tmp_path / "worker.log",
        free_port(),
        FANPULSE_AGGREGATE_SESSION_TIMEOUT_SECONDS="60",  # it keeps its partitions while it is stopped
    )
    topic = qualified(settings.namespace, EVENTS.name)
    async with make_producer(settings) as producer:
        await producer.partitions_for(topic)
        with worker:
            await asyncio.to_thread(worker.wait_ready)
            await asyncio.to_thread(
                eventually, lambda: counted(worker).get(1) == 1, 60, "the event that was there before"
            )
            stopped_ms = stop(worker)
            await producer.send_and_wait(topic, record("second", "VisitGansu", 1, marked=True), partition=1)
            worker.signal(signal.SIGCONT)
            waiting = {0: RECORDS * size, 1: 2}
            await asyncio.to_thread(
                eventually,
                lambda: {each: count for each, count in counted(worker).items() if count} == waiting,
                120,
                "all are counted",
            )
            order = await markers(settings, RECORDS * size // MARKED_EVENTS + 2)
    hot = [marker for marker in order if marker.partition == 0]
    first, second = (marker for marker in order if marker.partition == 1)
    assert [marker.offset * size for marker in hot] == list(range(0, RECORDS * size, MARKED_EVENTS))

    def most_counted(at_ms: int) -> int:
        """Events of the backlog counted by then, at most: those before the first marker that came later."""
        return min(
            (marker.offset * size for marker in hot if marker.counted_at_ms > at_ms), default=RECORDS * size
        )

    def least_counted(at_ms: int) -> int:
        """Events of the backlog counted by then, at least."""
        return max((marker.offset * size for marker in hot if marker.counted_at_ms <= at_ms), default=0)

    assert most_counted(first.counted_at_ms) < MOST_EVENTS
    assert most_counted(stopped_ms) < RECORDS * size, "the backlog was over before the second event came"
    assert first.counted_at_ms <= stopped_ms < second.counted_at_ms
    assert most_counted(second.counted_at_ms) - least_counted(stopped_ms) < MOST_EVENTS
