"""The history of readings against a recount: gains, losses, downward adjustments and resets."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.audit.recounting.examine import audit_export
from services.audit.recounting.result import AuditResult
from tests.support.audit_stream import HISTORY, START_MS, Stream

READING = {
    "kind": "reading", "v": 1, "platform": "twitter", "account": "GansuTravel",
}  # fmt: skip


async def audited(stream: Stream, directory: Path) -> AuditResult:
    """The audit of an export of the stream."""
    await stream.export(directory)
    return audit_export(directory)


def lines(result: AuditResult) -> list[str]:
    """What differs, line by line."""
    return [difference.line for difference in result.differences]


def readings(metric: str, *values: int, start: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """Readings of GansuTravel, a second apart."""
    return [
        READING
        | {"event_id": f"{metric}{start + n}", "metric": metric, "value": value}
        | {"occurred_at": START_MS + 1000 * (start + n)}
        | changes
        for n, value in enumerate(values)
    ]


HISTORIES = [
    *readings("followers", 1000, 1500, 1480, 1490),
    *readings("followers", 7, occurred_at=START_MS, start=4),  # late
    *readings("reads", 9000, 8800, 9100, 40, 60),  # a downward adjustment, and a reset
    *readings("likes", 5000, 0, 0, 5010),  # hidden for a while
    *readings("viewers", 300, 900, 100),
]


@pytest.mark.parametrize(
    ("metric", "name", "right"),
    [
        ("followers", "first", 1000),
        ("followers", "gained", 510),
        ("followers", "lost", 20),
        ("followers", "falls", 1),
        ("followers", "late", 1),
        ("followers", "downward_adjustments", 0),
        ("reads", "gained", 320),
        ("reads", "lost", 200),
        ("reads", "downward_adjustments", 1),
        ("reads", "resets", 1),
        ("reads", "reset_by", -9060),
        ("likes", "gained", 10),
        ("likes", "resets", 2),
        ("likes", "reset_by", 0),
        ("likes", "before_reset", 0),
        ("viewers", "first", 100),
        ("viewers", "lost", 0),
    ],
)
@pytest.mark.parametrize("error", [1, -1])
async def test_an_error_in_the_history_of_a_reading_is_named(
    metric: str, name: str, right: int, error: int, tmp_path: Path
) -> None:
    """Off by one in what a figure gained, lost, or how often it fell, was corrected, reset or late."""
    stream = Stream(partitions=1)
    stream.append(0, HISTORIES)
    key = f'["reading","twitter","GansuTravel","{metric}"]'
    entry = next(json.loads(r.value or b"") for r in stream.totals() if (r.key or b"").decode() == key)
    assert entry[name] == right
    stream.forged[0, key] = entry | {name: right + error}
    [found] = (await audited(stream, tmp_path / "export")).differences
    assert (found.subject, found.metric) == (("twitter", "GansuTravel"), f"{metric} {name}")
    assert (found.difference, found.partitions) == (error, (0,))


async def test_the_history_of_a_reading_goes_on_over_records(tmp_path: Path) -> None:
    """Wherever a record ends, and wherever the published checkpoint stands, the figures are the same."""
    for counted in range(1, len(HISTORIES) + 1):
        stream = Stream(partitions=1)
        for each in HISTORIES:
            stream.append(0, [each])
        stream.counted_records = {0: counted}
        result = await audited(stream, tmp_path / str(counted))
        assert lines(result) == []


async def test_a_reading_that_an_older_release_counted_is_followed_from_there(tmp_path: Path) -> None:
    """Its entry had the value only: that is compared, and a note says that the rest is not known. Where the
    history begins later, it is recounted from the offset that the entry names."""
    stream = Stream(partitions=1)
    late = readings("followers", 3, start=9, occurred_at=START_MS)
    stream.append(0, readings("followers", 1000, 1500) + late)
    stream.append(0, readings("followers", 0, 1600, start=2))
    key = '["reading","twitter","GansuTravel","followers"]'
    stream.forged[0, key] = {"value": 1600, "at_ms": START_MS + 3000, "offset": 1}
    note = (
        "of 1 readings an older release kept the newest value only; what they gained and lost by then is "
        "not published"
    )
    result = await audited(stream, tmp_path / "value")
    assert (result.verdict, result.notes) == ("AGREES, WITH NOTES", (note,))
    # It restarted after the first record: 1,500 is the baseline, and the figure was hidden for a moment.
    entry = {"value": 1600, "at_ms": START_MS + 3000, "offset": 1, "since": 0, "first": 1500}
    entry |= {
        "gained": 100,
        "lost": 0,
        "falls": 0,
        "downward_adjustments": 0,
        "resets": 2,
        "reset_by": 0,
        "late": 0,
    }
    stream.forged[0, key] = entry
    result = await audited(stream, tmp_path / "since")
    assert (result.verdict, result.notes) == ("AGREES, WITH NOTES", (note,))
    stream.forged[0, key] = entry | {"gained": 600}
    assert lines(await audited(stream, tmp_path / "wrong")) == [
        "DIFFERS  reading twitter GansuTravel followers gained: published 600, recounted 100 (+500) in "
        "partition 0"
    ]
    # It restarted while the figure was hidden: what was hidden is not known to it.
    stream = Stream(partitions=1)
    stream.append(0, readings("followers", 1000, 0))
    stream.append(0, readings("followers", 1600, start=2))
    entry |= {"at_ms": START_MS + 2000, "first": 0, "gained": 1600, "resets": 0}
    stream.forged[0, key] = entry
    assert (await audited(stream, tmp_path / "hidden")).exact


@pytest.mark.parametrize("seed", range(4))
async def test_three_counts_of_any_history_agree(seed: int, tmp_path: Path) -> None:
    """Many readings of few figures, out of order, jumping about: the aggregator's own state, the audit, and
    the plain count of these tests say the same."""
    draw = random.Random(seed)
    stream, states = (
        Stream(partitions=2),
        [PartitionState(number, DedupWindow(1000, 2)) for number in range(2)],
    )
    for number in range(600):
        metric = draw.choice(["followers", "reads", "likes", "viewers"])
        partition = int(metric > "likes")  # a figure is in one
        value = draw.choice([0, 50, 99, 100, 101, 199, 200, 201, 400, draw.randrange(1000)])
        event = readings(metric, value, start=number, occurred_at=START_MS + number - draw.randrange(3))
        offset = stream.append(partition, event)
        assert states[partition].apply(offset, json.dumps(event).encode()) == []
    result = await audited(stream, tmp_path / "export")
    assert lines(result) == []
    plain = {(r.partition, r.key): json.loads(r.value or b"") for r in stream.totals()}
    compared = 0
    for state in states:
        for key, stored in take_changes(state):
            if key.startswith(b'["reading"'):
                entry = json.loads(stored or b"")
                expected = plain[state.partition, key]
                assert {name: entry.get(name, 0) for name in HISTORY} == {n: expected[n] for n in HISTORY}
                assert entry["value"] == entry["first"] + entry["gained"] - entry["lost"] + entry["reset_by"]
                assert entry["downward_adjustments" if b"reads" in key else "falls"] > 0 or b"viewers" in key
                assert entry["resets"] > 0 or b"viewers" in key
                compared += 1
    assert compared == 4
