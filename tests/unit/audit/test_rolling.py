"""Rolling counts and late events against a recount: every bucket and the number of late ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.counting.windows import WINDOWS
from services.audit.recounting.engine import open_engine
from services.audit.recounting.examine import audit_export
from services.audit.recounting.result import AuditResult
from services.runtime.topic_scan import Record
from tests.support.audit_stream import BUCKETS, START_MS, Stream

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
TEN_MINUTES_MS, DAY_MS = 10 * MINUTE_MS, 24 * HOUR_MS


async def audited(stream: Stream, tmp_path: Path) -> AuditResult:
    """The audit of an export of the stream."""
    await stream.export(tmp_path / "export")
    return audit_export(tmp_path / "export")


def lines(result: AuditResult) -> list[str]:
    """What differs, line by line."""
    return [difference.line for difference in result.differences]


def like(number: int, at_ms: int, **changes: Any) -> dict[str, Any]:
    """An event with an id of its own."""
    return {
        "kind": "interaction",
        "v": 1,
        "event_id": f"e{number}",
        "occurred_at": at_ms,
        "platform": "twitter",
        "account": "GansuTravel",
        "action": "like",
        **changes,
    }


def clock(at_ms: int) -> dict[str, Any]:
    """A clock record."""
    return {"kind": "clock", "v": 1, "stream_time": at_ms, "source": "event"}


def buckets(stream: Stream) -> dict[str, dict[str, Any]]:
    """The published buckets by key."""
    return {
        key: json.loads(record.value or b"")
        for record in stream.totals()
        if (key := (record.key or b"").decode()).startswith('["bucket"')
    }


def test_the_levels_are_those_of_the_aggregator() -> None:
    """Widths and lengths are stated by the audit, by the tests' own count and by the aggregator; they agree.
    (Who adds a window there has to add it here.)"""
    with open_engine() as engine:
        engine.run("recount.bucket_level")
        levels = {width: (length, coarser) for width, length, coarser in engine.rows("recount.bucket_levels")}
    lengths: dict[int, int] = {}
    for width, length in WINDOWS.values():
        lengths[width] = max(length, lengths.get(width, 0))
    widths = sorted(lengths)
    coarser = [*widths[1:], widths[-1]]
    assert levels == {w: (lengths[w], c) for w, c in zip(widths, coarser, strict=True)}
    assert levels == BUCKETS


# -- planted errors -----------------------------------------------------------------------------------------


def spread() -> Stream:
    """Likes a few seconds, half an hour and twelve hours before stream time, each in another level."""
    stream = Stream(partitions=2)
    tags = {"hashtags": ["fuxiceremony", "gansuheritage"]}
    events = [like(0, START_MS), like(1, START_MS, **tags), like(2, START_MS - HOUR_MS // 2)]
    stream.append(1, [clock(START_MS), *events, like(3, START_MS - 12 * HOUR_MS, quantity=7)])
    return stream


SECOND = f'["bucket",1000,{START_MS},0]'
MINUTE = f'["bucket",60000,{START_MS - HOUR_MS // 2},0]'
TEN_MINUTES = f'["bucket",600000,{START_MS - 12 * HOUR_MS},0]'


async def test_right_rolling_counts_agree(tmp_path: Path) -> None:
    """Three buckets of three widths, and the sums over all accounts and hashtags in them."""
    stream = spread()
    assert sorted(buckets(stream)) == sorted([SECOND, MINUTE, TEN_MINUTES])
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    assert (result.counts.rolling, result.counts.late) == (9, 0)


@pytest.mark.parametrize(
    ("key", "name", "shown"),
    [
        (SECOND, ["account", "twitter", "GansuTravel"], "account twitter GansuTravel like in the 1 s from "
         "2026-06-21T23:20:00.000Z: published 3, recounted 2 (+1)"),
        (SECOND, ["account", ""], "account (all) like in the 1 s from 2026-06-21T23:20:00.000Z: published 3, "
         "recounted 2 (+1)"),
        (SECOND, ["hashtag", "gansuheritage"], "hashtag #gansuheritage like in the 1 s from "
         "2026-06-21T23:20:00.000Z: published 2, recounted 1 (+1)"),
        (SECOND, ["hashtag", ""], "hashtag (all) like in the 1 s from 2026-06-21T23:20:00.000Z: published 3, "
         "recounted 2 (+1)"),
        (MINUTE, ["account", ""], "account (all) like in the 60 s from 2026-06-21T22:50:00.000Z: "
         "published 2, recounted 1 (+1)"),
        (TEN_MINUTES, ["account", ""], "account (all) like in the 600 s from 2026-06-21T11:20:00.000Z: "
         "published 8, recounted 7 (+1)"),
    ],
)  # fmt: skip
async def test_a_forged_bucket_is_named_with_its_size(
    key: str, name: list[str], shown: str, tmp_path: Path
) -> None:
    """One count too high by one, in a bucket of any width: one line with figures, bucket and partition."""
    stream = spread()
    rows = buckets(stream)[key]["rows"]
    assert [*name, "like"] in [row[:-1] for row in rows]
    stream.forged[1, key] = {"rows": [[*row[:-1], row[-1] + (row[:-2] == name)] for row in rows]}
    result = await audited(stream, tmp_path)
    assert lines(result) == [f"DIFFERS  rolling {shown} in partition 1"]
    assert not result.exact


async def test_buckets_that_are_missing_or_too_many_are_named(tmp_path: Path) -> None:
    """A bucket that was not stored, one that should have gone, one of another partition, and one
    whose count is no number."""
    stream = spread()
    stream.forged[0, SECOND] = buckets(stream)[SECOND]
    stream.forged[1, MINUTE] = None
    stream.forged[1, '["bucket",600000,0,0]'] = {"rows": [["account", "", "like", 1]]}
    stream.forged[1, TEN_MINUTES] = {"rows": [
        ["account", "", "like", "many"], ["account", "twitter", "GansuTravel", "like", 7],
    ]}  # fmt: skip
    found = lines(await audited(stream, tmp_path))
    assert [line for line in found if "partition 1" in line] == [
        "EXTRA    rolling account (all) like in the 600 s from 1970-01-01T00:00:00.000Z: published 1, "
        "recounted nothing (+1) in partition 1",
        "DIFFERS  rolling account (all) like in the 600 s from 2026-06-21T11:20:00.000Z: published -1, "
        "recounted 7 (-8) in partition 1",
        "MISSING  rolling account (all) like in the 60 s from 2026-06-21T22:50:00.000Z: published nothing, "
        "recounted 1 (-1) in partition 1",
        "MISSING  rolling account twitter GansuTravel like in the 60 s from 2026-06-21T22:50:00.000Z: "
        "published nothing, recounted 1 (-1) in partition 1",
    ]
    assert len([line for line in found if line.startswith("EXTRA") and "partition 0" in line]) == 5


@pytest.mark.parametrize("error", [1, -1])
async def test_a_forged_number_of_late_events_is_named(error: int, tmp_path: Path) -> None:
    """One late event too many, or one kept quiet."""
    stream = Stream(partitions=1)
    stream.append(0, [clock(START_MS), like(0, START_MS - 2 * DAY_MS), like(1, START_MS)])
    entry = next(json.loads(r.value or b"") for r in stream.totals() if r.key == b'["checkpoint"]')
    assert entry["late"] == 1
    stream.forged[0, '["checkpoint"]'] = entry | {"late": 1 + error}
    assert lines(await audited(stream, tmp_path)) == [
        f"DIFFERS  checkpoint late: published {1 + error}, recounted 1 ({error:+}) in partition 0"
    ]


# -- where the bounds are -----------------------------------------------------------------------------------


def counted_by_the_aggregator(stream: Stream, every: int = 10**9) -> list[Record]:
    """The totals as the aggregator's own state writes them, every so many records."""
    found = []
    for partition, records in stream.log.items():
        state = PartitionState(partition, DedupWindow(*stream.dedup_window))
        changes: list[tuple[bytes, bytes | None]] = []
        for number, record in enumerate(records, 1):
            state.apply(record.offset, record.value)
            if number % every == 0:
                changes += take_changes(state)
        changes += take_changes(state)
        found += [Record(partition, n, START_MS, key, value) for n, (key, value) in enumerate(changes)]
    return found


async def test_an_event_is_late_by_the_stream_time_before_it(tmp_path: Path) -> None:
    """To the millisecond, at its place in the log: what came before the clock record is in time, duplicates
    and readings are never late."""
    noon = START_MS // TEN_MINUTES_MS * TEN_MINUTES_MS
    floor = noon + TEN_MINUTES_MS - DAY_MS
    reading = {"kind": "reading", "v": 1, "event_id": "r", "occurred_at": floor - 1, "platform": "twitter",
               "account": "GansuTravel", "metric": "followers", "value": 7}  # fmt: skip
    stream = Stream(partitions=1)
    stream.append(0, [like(0, floor - 1), clock(noon - 1), like(1, floor - 1)])
    stream.append(0, [clock(noon), like(2, floor - 1), like(3, floor), like(2, floor - 1), reading])
    stream.append(0, clock(noon + TEN_MINUTES_MS - 1))
    stream.append(0, [like(4, floor - 1, quantity=5), like(5, floor), like(0, floor - 1)])
    for totals in (stream.totals(), counted_by_the_aggregator(stream)):
        stream.totals = lambda totals=totals: totals  # type: ignore[method-assign]
        result = await audited(stream, tmp_path)
        assert lines(result) == []
        assert (result.counts.late, result.counts.duplicates) == (2, 2)


@pytest.mark.parametrize("seed", range(4))
async def test_three_counts_of_rolling_windows_agree(seed: int, tmp_path: Path) -> None:
    """Stream time that crawls and leaps, events of any age and some of tomorrow: the audit, the aggregator's
    own state, however often it stores, and the plain count of these tests say the same of every bucket."""
    draw, stream = random.Random(seed), Stream(partitions=2)
    now = START_MS
    for number in range(0, 900, 3):
        batch: list[dict[str, Any]] = []
        for n in range(number, number + 3):
            age = draw.choice([0, draw.randrange(400_000), draw.randrange(2 * HOUR_MS),
                               draw.randrange(30 * HOUR_MS), -draw.randrange(30 * HOUR_MS)])  # fmt: skip
            tags = draw.sample(["fuxiceremony", "gansuheritage"], draw.randrange(3))
            batch.append(like(n, now - age, hashtags=tags, quantity=draw.randrange(1, 4)))
        if draw.random() < 0.5:
            now += draw.choice([1, 999, 30_000, 400_000, draw.randrange(HOUR_MS)])
            batch.insert(draw.randrange(4), clock(now))
        stream.append(draw.randrange(2), batch)
    plain = await audited(stream, tmp_path)
    assert lines(plain) == []
    assert plain.counts.late > 20
    assert {key.split(",")[1] for key in buckets(stream)} == {"1000", "60000", "600000"}
    stream.totals = lambda: counted_by_the_aggregator(stream, every=seed + 1)  # type: ignore[method-assign]
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    assert result.counts == plain.counts
