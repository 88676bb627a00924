"""A stream in other partitions: the same events count, under the same stream time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanpulse.repartition.counted import Counted, CountedEvents, entries_of, merged, voided_by
from fanpulse.repartition.target import NewLog
from schemas.fields import LATEST_MS
from schemas.totals import COUNTED_SCOPES, decode_key, decode_value
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.runtime.settings import Settings
from services.runtime.stream import StreamError
from tests.support.audit_stream import Stream, random_stream

WINDOW = DedupWindow(1000, 2)
Figures = Counter[tuple[Any, ...]]


class Producer:
    """Keeps what is sent, by partition."""

    def __init__(self) -> None:
        self.sent: dict[int, list[bytes]] = {}

    async def send(
        self, topic: str, value: bytes, *, partition: int, timestamp_ms: int
    ) -> asyncio.Future[object]:
        self.sent.setdefault(partition, []).append(value)
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def copied(
    stream: Stream, partitions: int, window: DedupWindow = WINDOW, now_ms: int = LATEST_MS
) -> dict[int, list[bytes]]:
    """The records of the new log."""
    producer = Producer()
    new_log = NewLog(Settings(), producer, partitions, window)  # type: ignore[arg-type]

    async def one(number: int) -> AsyncIterator[Counted]:
        voided = [voided_by(number, each.offset, each.value) for each in stream.log[number]]
        counted = CountedEvents(DedupWindow(*stream.dedup_window), set().union(*voided), now_ms)
        for record in stream.log[number]:
            for found in counted.take(record.offset, record.timestamp_ms, record.value):
                yield found

    async for found in merged({number: one(number) for number in stream.log}):
        if found.event is None:
            await new_log.advance(found.stream_time_ms, found.timestamp_ms)
        else:
            await new_log.add(found.event, found.raw, found.timestamp_ms)
    await new_log.close_up()
    return producer.sent


def states(logs: dict[int, list[bytes | None]], window: DedupWindow = WINDOW) -> list[PartitionState]:
    """The aggregator's states after these logs."""
    found = []
    for number, log in logs.items():
        state = PartitionState(number, window)
        for offset, value in enumerate(log):
            state.apply(offset, value)
        found.append(state)
    return found


def figures(found: list[PartitionState]) -> Figures:
    """Totals, minutes and histories of readings, over all partitions."""
    summed: Figures = Counter()
    for state in found:
        for key, value in take_changes(state):
            name, entry = decode_key(key), decode_value(value or b"{}")
            if name[0] in (*COUNTED_SCOPES, "minute"):
                summed.update({(*name, action): n for action, n in entry.get("actions", {}).items()})
            elif name[0] == "reading":
                summed.update(
                    {
                        (*name, field): n
                        for field, n in entry.items()
                        if field not in ("offset", "since") and n
                    }
                )
    return summed


@pytest.mark.parametrize(("seed", "partitions"), [(0, 1), (1, 2), (2, 5), (3, 8)])
async def test_a_copy_has_the_same_figures(seed: int, partitions: int) -> None:
    """Duplicates, garbage, events out of order, readings, broadcasts: totals, minutes and histories of the
    new stream are those of the old one, whatever the number of partitions."""
    stream = random_stream(seed, events=1500)
    old = states({n: [record.value for record in log] for n, log in stream.log.items()})
    new = states({n: list(log) for n, log in (await copied(stream, partitions)).items()})
    assert sum(state.counted for state in new) == sum(state.counted for state in old)
    assert sum(state.duplicates for state in new) == 0
    assert sum(state.late for state in new) == sum(state.late for state in old)
    assert figures(new) == figures(old)


async def test_an_id_that_would_count_once_only_is_an_error() -> None:
    """It counted twice, since the old window had passed; the new one would leave it out."""
    stream = Stream(partitions=1, dedup_window=(1, 1, 1000))
    like = {"kind": "interaction", "v": 1, "occurred_at": 1_782_120_600_000, "platform": "twitter",
            "account": "GansuTravel", "action": "like"}  # fmt: skip
    for name in ("a", "b", "c", "d", "a"):
        stream.append(0, [like | {"event_id": name}])
    with pytest.raises(StreamError, match="event a counts twice"):
        await copied(stream, 2)


def test_entries_keep_their_bytes() -> None:
    """A single entry, an array with something that is no event in it, and what cannot be read."""
    good = b'{"kind":"clock", "v":1,"stream_time":5}'
    assert [raw for _, raw in entries_of(good)] == [good]
    assert [raw for _, raw in entries_of(b'[{"kind":"poll"},' + good + b"]")] == [good]
    assert list(entries_of(b"{")) == list(entries_of(None)) == list(entries_of(b"\xff")) == []


async def test_a_voided_event_is_left_out_with_its_void() -> None:
    """The new stream counts what the old one counts net of voids, and has no void."""
    like = {"kind": "interaction", "v": 1, "occurred_at": 1_782_084_000_000, "platform": "twitter",
            "account": "GansuTravel", "action": "like"}  # fmt: skip
    stream = Stream(partitions=1)
    slip = like | {"event_id": "slip", "quantity": 1_000_000_000}
    stream.append(0, [like | {"event_id": "a"}, slip])
    void = {"kind": "void", "v": 1, "event_id": "void:0:0:1", "partition": 0, "offset": 0, "index": 1}
    stream.append(0, [void | {"event": slip, "reason": "a slip", "by": "me", "voided_at": 1}])
    sent = await copied(stream, 1)
    (state,) = states({0: list(sent[0])})
    assert state.counters.actions(("account", "twitter", "GansuTravel")) == {"like": 1}
    assert (state.counted, state.voided) == (1, 0)


async def test_a_copy_follows_no_clock_of_a_time_to_come() -> None:
    """The broker's clock and ingest's were a day ahead for a while: the copy is as if they never had been,
    but for what was a duplicate."""
    noon, like = 1_782_084_000_000, {
        "kind": "interaction", "v": 1, "platform": "twitter", "account": "GansuTravel", "action": "like",
        "broadcast_id": "fuxi",
    }  # fmt: skip

    def events(at_ms: int) -> list[dict[str, Any]]:
        return [like | {"event_id": f"{at_ms}-{n}", "occurred_at": at_ms + n * 1000} for n in range(3)]

    def clock(at_ms: int) -> dict[str, Any]:
        return {"kind": "clock", "v": 1, "stream_time": at_ms, "source": "wall"}

    right, wrong = Stream(partitions=2), Stream(partitions=2)
    for number in range(2):
        for minute in range(10):
            at_ms = noon + minute * 60_000
            batch = [*events(at_ms + number), clock(at_ms + 59_999)]
            right.append(number, batch)
            poison = [clock(at_ms + 86_400_000)] if 3 <= minute < 5 else []
            wrong.append(number, [*poison, *batch])
    (poisoned, *_) = states({n: [record.value for record in log] for n, log in wrong.log.items()})
    assert poisoned.windows.sums["1m"] == {}
    now_ms = noon + 600_000
    old = states({n: list(log) for n, log in (await copied(right, 2)).items()})
    new = states({n: list(log) for n, log in (await copied(wrong, 2, now_ms=now_ms)).items()})
    assert figures(new) == figures(old)
    assert [state.stream_time_ms for state in new] == [noon + 599_999] * 2
    assert [state.windows.sums for state in new] == [state.windows.sums for state in old]
    assert any(state.windows.sums["1m"] for state in new)
