"""Records reach the counting by the handful: in order, with turns for others, and none after a stale one."""

from __future__ import annotations

import asyncio
import time

from aiokafka.structs import ConsumerRecord

import services.aggregate.app as app
import services.aggregate.consumer as consumer


def record(offset: int) -> ConsumerRecord[bytes, bytes]:
    """A record of partition 3, written at second 1000 + offset."""
    return ConsumerRecord(
        "engagement.events.v1", 3, offset, (1_000 + offset) * 1000, 0, None, b"[%d]" % offset, 0, -1, 3, ()
    )


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
    counted = Counted(stale=100, seconds=app.TURN_SECONDS)
    turns: list[int] = []

    async def other() -> None:
        while True:
            turns.append(len(counted.given))
            await asyncio.sleep(0)

    async def run() -> None:
        task = asyncio.create_task(other())
        await app._count([record(offset) for offset in range(5)], counted)  # type: ignore[arg-type]
        task.cancel()

    asyncio.run(run())
    assert turns[: 4 * app.TURNS : app.TURNS] == [1, 2, 3, 4]
