"""Totals against a recount: what is right agrees, and every error is named with its size."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.audit.recounting.errors import NotAnExportError
from services.audit.recounting.examine import audit_export
from services.audit.recounting.manifest import describe_file, read_manifest, write_manifest
from services.audit.recounting.result import AuditResult, Window, verdict_line
from services.runtime.topic_scan import Record
from tests.support.audit_stream import START_MS, Stream, random_stream

LIKE = {
    "kind": "interaction",
    "v": 1,
    "event_id": "a",
    "occurred_at": START_MS,
    "platform": "twitter",
    "account": "GansuTravel",
    "action": "like",
}


async def audited(stream: Stream, tmp_path: Path, window: Window | None = None) -> AuditResult:
    """The audit of an export of the stream."""
    await stream.export(tmp_path / "export")
    return audit_export(tmp_path / "export", window)


def lines(result: AuditResult) -> list[str]:
    """What differs, line by line."""
    return [difference.line for difference in result.differences]


def likes(count: int, start: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """Events with ids of their own."""
    return [LIKE | {"event_id": f"e{n}"} | changes for n in range(start, start + count)]


# -- what is right ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_a_right_stream_agrees(seed: int, tmp_path: Path) -> None:
    """Every kind of entry, garbage, ids repeated within and beyond the dedup window: all is equal."""
    stream = random_stream(seed, events=800, dedup_window=(40, seed % 3 + 1))
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    assert (result.verdict, result.exact) == ("AGREES", True)
    assert result.counts.duplicates > 0
    assert result.counts.rejected > 0
    assert result.counts.events == result.counts.counted + result.counts.duplicates
    assert result.counts.figures > 500


@pytest.mark.parametrize("seed", range(3))
async def test_the_aggregator_agrees(seed: int, tmp_path: Path) -> None:
    """The totals that the aggregator's own state gives are those of the recount, flush by flush."""
    stream = random_stream(seed, events=800, dedup_window=(1000, 2))

    def totals() -> list[Record]:
        found = []
        for partition, records in stream.log.items():
            state = PartitionState(partition, DedupWindow(*stream.dedup_window))
            changes: list[tuple[bytes, bytes | None]] = []
            for number, record in enumerate(records):
                state.apply(record.offset, record.value)
                if number % 7 == seed:
                    changes += take_changes(state)
            changes += take_changes(state)
            found += [Record(partition, n, START_MS, key, value) for n, (key, value) in enumerate(changes)]
        return found

    stream.totals = totals  # type: ignore[method-assign]
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    assert result.exact


async def test_an_empty_stream_agrees(tmp_path: Path) -> None:
    """Nothing in, nothing published: nothing differs."""
    result = await audited(Stream(), tmp_path)
    assert (result.verdict, result.counts.events, result.as_of) == ("AGREES", 0, ())


async def test_what_is_not_yet_counted_is_a_note(tmp_path: Path) -> None:
    """Events after the published checkpoint are no difference; their number is said."""
    stream = Stream(partitions=2)
    stream.append(0, likes(3))
    stream.append(0, likes(2, 3))
    stream.append(1, likes(1, 9))
    stream.counted_records = {0: 1}
    result = await audited(stream, tmp_path)
    assert result.verdict == "AGREES, WITH NOTES"
    assert result.exact
    assert result.counts.uncounted == 2
    assert result.notes == ("2 events are not yet counted (partition 0: 2)",)


async def test_a_window_is_recounted_besides(tmp_path: Path) -> None:
    """By event time, without its end; duplicates count once, and totals are compared whole all the same."""
    stream = Stream(partitions=1)
    stream.append(0, likes(2, hashtags=["fuxiceremony"]) + likes(1))
    stream.append(0, likes(3, 10, occurred_at=START_MS + 1000))
    stream.append(0, likes(4, 20, occurred_at=START_MS + 2000))
    result = await audited(stream, tmp_path, Window(START_MS, START_MS + 2000))
    totals = {(each.scope, *each.subject, each.action): each.total for each in result.window_totals}
    assert totals == {
        ("account", "twitter", "GansuTravel", "like"): 5,
        ("hashtag", "fuxiceremony", "like"): 2,
    }
    assert result.counts.counted == 9


# -- planted errors -----------------------------------------------------------------------------------------


async def test_a_changed_total_is_named_with_its_size(tmp_path: Path) -> None:
    """One total too high by one, in one of two partitions: one line with both figures and the partition."""
    stream = Stream(partitions=3)
    stream.append(1, likes(1000))
    stream.append(2, likes(203, 1000))
    key = '["account","twitter","GansuTravel"]'
    stream.forged[2, key] = {"actions": {"like": 204}, "last_ms": START_MS, "offset": 0}
    result = await audited(stream, tmp_path)
    assert lines(result) == [
        "DIFFERS  account twitter GansuTravel like: published 1,204, recounted 1,203 (+1) in partition 2"
    ]
    assert verdict_line(result) == "VERDICT: DIFFERS (1 figure)"
    (difference,) = result.differences
    assert difference.as_json() == {
        "kind": "figure", "word": "DIFFERS", "text": difference.text, "scope": "account",
        "subject": ["twitter", "GansuTravel"], "metric": "like", "published": 1204, "recounted": 1203,
        "difference": 1, "partitions": [2],
    }  # fmt: skip


FULL = LIKE | {
    "hashtags": ["fuxiceremony"],
    "campaign": "fuxi-ceremony-2026",
    "post_id": "p1",
    "post_format": "live",
    "broadcast_id": "fuxi-2026",
    "actor": {"id": "00", "country": "CN", "verified": True},
}
READING = {
    "kind": "reading", "v": 1, "event_id": "r", "occurred_at": START_MS, "platform": "twitter",
    "account": "GansuTravel", "metric": "followers", "value": 7,
}  # fmt: skip
PHASE = {
    "kind": "broadcast", "v": 1, "event_id": "b", "occurred_at": START_MS, "platform": "twitter",
    "account": "GansuTravel", "broadcast_id": "fuxi-2026", "phase": "started",
}  # fmt: skip
CLOCK = {"kind": "clock", "v": 1, "stream_time": START_MS + 65_000, "source": "event"}


NAMES = {
    '["account","twitter","GansuTravel"]': "account twitter GansuTravel like",
    '["hashtag","fuxiceremony"]': "hashtag #fuxiceremony like",
    '["campaign","fuxi-ceremony-2026"]': "campaign fuxi-ceremony-2026 like",
    '["country","CN"]': "country CN like",
    '["format","live"]': "format live like",
    '["vip"]': "vip like",
    '["post","twitter","p1"]': "post twitter p1 like",
    '["broadcast","fuxi-2026"]': "broadcast fuxi-2026 like",
    f'["minute","fuxi-2026",{START_MS}]': "minute fuxi-2026 2026-06-21T23:20:00.000Z like",
}


@pytest.mark.parametrize(
    ("actions", "shown"),
    [
        ({"like": 6}, "DIFFERS  {}: published 6, recounted 5 (+1) in partition 0"),
        ({"like": 4}, "DIFFERS  {}: published 4, recounted 5 (-1) in partition 0"),
        (None, "MISSING  {}: published nothing, recounted 5 (-5) in partition 0"),
        ({"share": 5}, "MISSING  {}: published nothing, recounted 5 (-5) in partition 0"),
    ],
)
async def test_an_error_in_any_scope_is_named(
    actions: dict[str, int] | None, shown: str, tmp_path: Path
) -> None:
    """Too high, too low, missing, or of another action: every scope of the totals is compared."""
    stream = Stream(partitions=1)
    stream.append(0, [FULL | {"event_id": str(n)} for n in range(5)] + [PHASE, READING, CLOCK])
    for record in stream.totals():
        key = (record.key or b"").decode()
        if key in NAMES:
            entry = json.loads(record.value or b"")
            stream.forged[0, key] = None if actions is None else entry | {"actions": actions}
    assert stream.forged.keys() == {(0, key) for key in NAMES}
    found = lines(await audited(stream, tmp_path))
    assert [line for line in found if " like: published" in line] == [
        shown.format(name) for name in NAMES.values()
    ]
    extra = [line for line in found if line.startswith("EXTRA")]
    assert len(extra) == (len(NAMES) if actions == {"share": 5} else 0)


@pytest.mark.parametrize(
    ("key", "change", "line"),
    [
        (
            '["reading","twitter","GansuTravel","followers"]',
            {"value": 8},
            "DIFFERS  reading twitter GansuTravel followers: published 8, recounted 7 (+1) in partition 0",
        ),
        (
            '["broadcast","fuxi-2026"]',
            {"phases": {"started": START_MS + 1}},
            "DIFFERS  broadcast fuxi-2026 phase started: published 2026-06-21T23:20:00.001Z, recounted "
            "2026-06-21T23:20:00.000Z in partition 0",
        ),
        (
            '["format","live"]',
            {"last_ms": START_MS + 1000},
            "DIFFERS  format live last_ms: published 2026-06-21T23:20:01.000Z, recounted "
            "2026-06-21T23:20:00.000Z in partition 0",
        ),
        (
            f'["minute","fuxi-2026",{START_MS}]',
            {"closed": False},
            "DIFFERS  minute fuxi-2026 2026-06-21T23:20:00.000Z: published as open, but it has closed in "
            "partition 0",
        ),
        (
            '["checkpoint"]',
            {"duplicates": 1},
            "DIFFERS  checkpoint duplicates: published 1, recounted 0 (+1) in partition 0",
        ),
        (
            '["checkpoint"]',
            {"counted": "many"},
            "DIFFERS  checkpoint counted: published -1, recounted 7 (-8) in partition 0",
        ),
    ],
)
async def test_other_figures_are_compared_too(
    key: str, change: dict[str, Any], line: str, tmp_path: Path
) -> None:
    """Readings, phases, times, whether a minute is closed, and the counters of a checkpoint."""
    stream = Stream(partitions=1)
    stream.append(0, [FULL | {"event_id": str(n)} for n in range(5)] + [PHASE, READING, CLOCK])
    entry = next(json.loads(r.value or b"") for r in stream.totals() if (r.key or b"").decode() == key)
    stream.forged[0, key] = entry | change
    assert line in lines(await audited(stream, tmp_path))


async def test_errors_that_cancel_out_are_found(tmp_path: Path) -> None:
    """One too many in one partition and one too few in another: the sum is right, the partitions are not."""
    stream = Stream(partitions=2)
    stream.append(0, likes(5))
    stream.append(1, likes(5, 5))
    key = '["account","twitter","GansuTravel"]'
    stream.forged[0, key] = {"actions": {"like": 6}, "last_ms": START_MS, "offset": 0}
    stream.forged[1, key] = {"actions": {"like": 4}, "last_ms": START_MS, "offset": 0}
    assert lines(await audited(stream, tmp_path)) == [
        "DIFFERS  account twitter GansuTravel like: published 10, recounted 10 (+0) "
        "in partitions 0 (+1), 1 (-1)"
    ]


async def test_a_missing_checkpoint_is_one_difference(tmp_path: Path) -> None:
    """A partition with events whose checkpoint is nowhere: nothing of it is counted, and that is said."""
    stream = Stream(partitions=2)
    stream.append(0, likes(5))
    stream.append(1, likes(5, 5))
    stream.counted_records = {1: 0}
    result = await audited(stream, tmp_path)
    assert lines(result) == ["MISSING  checkpoint of partition 1: it has 5 events, and none is counted"]


async def test_totals_of_another_log_are_found(tmp_path: Path) -> None:
    """A checkpoint beyond the end of the log, or of a partition that it does not have, is a difference."""
    stream = Stream(partitions=1)
    stream.append(0, likes(5))
    stream.forged[0, '["checkpoint"]'] = json.loads(stream.totals()[-1].value or b"") | {"offset": 41}
    assert lines(await audited(stream, tmp_path)) == [
        "DIFFERS  checkpoint of partition 0: counted up to offset 41, but the log ends before 1"
    ]


async def test_records_that_are_no_totals_are_named(tmp_path: Path) -> None:
    """A key or value that cannot be read does not stop the audit."""
    stream = Stream(partitions=1)
    stream.append(0, likes(5))
    stream.forged[0, "nonsense"] = {"actions": {}}
    stream.forged[0, '["vip"]'] = []  # type: ignore[assignment]
    assert sorted(lines(await audited(stream, tmp_path))) == [
        'DIFFERS  record ["vip"] of engagement.totals.v1 cannot be read in partition 0',
        "DIFFERS  record nonsense of engagement.totals.v1 cannot be read in partition 0",
    ]


# -- damaged exports ----------------------------------------------------------------------------------------


def rewrite_events(directory: Path, keep: Callable[[pa.Table], pa.Array], *, fix_hash: bool) -> None:
    """Rewrite the events of an export without some rows; as a forger would, with the hash put right."""
    path = "events/part-00000.parquet"
    table = pq.read_table(directory / path)
    table = table.filter(keep(table))
    pq.write_table(table, directory / path)
    if fix_hash:
        manifest = read_manifest(directory)
        files = [describe_file(directory, path, len(table)) if f.path == path else f for f in manifest.files]
        write_manifest(directory, manifest.model_copy(update={"files": tuple(files)}))


@pytest.mark.parametrize("fix_hash", [True, False])
async def test_an_event_removed_from_an_export_is_named_with_its_size(fix_hash: bool, tmp_path: Path) -> None:
    """Whether the hash was put right or not, the figures that lack it say so, and so does its record."""
    stream = Stream(partitions=2)
    stream.append(0, likes(10))
    stream.append(1, likes(10, 10, quantity=3))
    await stream.export(tmp_path / "june")
    rewrite_events(tmp_path / "june", lambda table: pc.not_equal(table["event_id"], "e14"), fix_hash=fix_hash)
    result = audit_export(tmp_path / "june")
    found = lines(result)
    assert (
        "DIFFERS  account twitter GansuTravel like: published 40, recounted 37 (+3) in partition 1" in found
    )
    assert "DIFFERS  checkpoint counted: published 20, recounted 19 (+1) in partition 1" in found
    assert "MISSING  1 of the 10 entries exported from partition 1 (-1)" in found
    assert "MISSING  1 of 10 entries of the record at offset 0 in partition 1" in found
    damaged = [line for line in found if line.startswith("DAMAGED")]
    assert len(damaged) == (0 if fix_hash else 1)
    assert fix_hash or "events/part-00000.parquet" in damaged[0]
    assert fix_hash or "(-1 rows)" in damaged[0]
    assert not result.exact


async def test_events_that_cannot_be_read_leave_nothing_to_determine(tmp_path: Path) -> None:
    """A file that is no Parquet any more is named, and no figure is claimed to be right or wrong."""
    await random_stream(1, events=100).export(tmp_path / "june")
    (tmp_path / "june" / "events" / "part-00000.parquet").write_bytes(b"PAR1")
    result = audit_export(tmp_path / "june")
    assert (result.verdict, result.exact) == ("CANNOT BE DETERMINED", False)
    assert "events/part-00000.parquet cannot be read" in verdict_line(result)


@pytest.mark.parametrize(
    "path", ["totals.parquet", "alerts.parquet", "rules.toml", "events/part-00000.parquet"]
)
async def test_a_missing_file_leaves_nothing_to_determine(path: str, tmp_path: Path) -> None:
    """Without one of its files an export proves nothing; the file is named."""
    await random_stream(1, events=100).export(tmp_path / "june")
    (tmp_path / "june" / path).unlink()
    result = audit_export(tmp_path / "june")
    assert result.verdict == "CANNOT BE DETERMINED"
    assert f"{path} is missing" in result.obstacle


async def test_a_log_without_its_beginning_leaves_nothing_to_determine(tmp_path: Path) -> None:
    """When retention has cut the log, the offsets that are missing are listed."""
    manifest = await random_stream(1, events=100).export(tmp_path / "june")
    first, *rest = manifest.events.partitions
    events = manifest.events.model_copy(
        update={"partitions": (first.model_copy(update={"begin": 1000}), *rest)}
    )
    write_manifest(tmp_path / "june", manifest.model_copy(update={"events": events}))
    result = audit_export(tmp_path / "june")
    assert verdict_line(result) == (
        "VERDICT: CANNOT BE DETERMINED (the log does not reach back to its start; missing are partition 0: "
        "offsets 0 to 999)"
    )
    assert not replace(result, differences=()).exact


def test_any_other_folder_is_rejected(tmp_path: Path) -> None:
    """A folder that is no export has no verdict."""
    with pytest.raises(NotAnExportError):
        audit_export(tmp_path)
