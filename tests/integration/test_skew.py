"""A partition with a backlog does not hold back the figures of the others, on a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.topics import EVENTS, qualified
from services.runtime.kafka import make_producer
from services.runtime.settings import Settings
from tests.support import stream
from tests.support.ports import free_port
from tests.support.processes import Service, eventually

RECORDS = 40_000


def record(name: str, account: str, events: int) -> bytes:
    """Likes of an account."""
    return json.dumps(
        [
            {
                "kind": "interaction", "v": 1, "event_id": f"{name}-{index}", "occurred_at": stream.START_MS,
                "platform": "twitter", "account": account, "action": "like", "hashtags": [],
            }
            for index in range(events)
        ]
    ).encode()  # fmt: skip


def backlog(size: int) -> Iterator[tuple[int, bytes]]:
    """Records of partition 0, so many events each."""
    return ((0, record(f"hot-{number}", "GansuTravel", size)) for number in range(RECORDS))


def counted(service: Service) -> dict[str, float]:
    """Events counted by partition."""
    found = service.metrics().items()
    return {
        name.rsplit('partition="', 1)[1][0]: value
        for name, value in found
        if name.startswith("fanpulse_events_counted_total{")
    }


@pytest.mark.timeout(240)
@pytest.mark.parametrize("size", [5, 20])
async def test_other_partitions_do_not_wait_for_a_hot_one(
    settings: Settings, tmp_path: Path, size: int
) -> None:
    """40,000 records wait in partition 0: an event of partition 1 that was there before is on /metrics before
    100,000 of their events are counted, and one that comes in meanwhile is before another 100,000 are."""
    await stream.produce(settings, backlog(size))
    await stream.produce(settings, [(1, record("first", "VisitGansu", 1))])
    worker = Service("aggregate", settings, tmp_path / "worker.log", free_port())
    topic = qualified(settings.namespace, EVENTS.name)
    async with make_producer(settings) as producer:
        await producer.partitions_for(topic)
        with worker:
            await asyncio.to_thread(worker.wait_ready)
            seen: list[dict[str, float]] = []

            def shows(events: int) -> bool:
                figures = counted(worker)
                if figures.get("1", 0) >= events:
                    seen.append(figures)
                return figures.get("1", 0) >= events

            await asyncio.to_thread(eventually, lambda: shows(1), 60, "the event that was there before")
            await producer.send_and_wait(topic, record("second", "VisitGansu", 1), partition=1)
            await asyncio.to_thread(eventually, lambda: shows(2), 60, "the event that came in meanwhile")
            before, meanwhile = seen
            assert before["0"] < 100_000
            assert meanwhile["0"] < 200_000
            waiting = RECORDS * size
            await asyncio.to_thread(
                eventually, lambda: counted(worker).get("0") == waiting, 120, "all are counted"
            )
