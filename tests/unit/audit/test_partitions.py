"""The audit checks what it shares with the aggregator: an id counts once, a figure lives in one partition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from services.audit.recounting.examine import audit_export
from services.audit.recounting.manifest import read_manifest, write_manifest
from services.audit.recounting.result import AuditResult
from tests.support.audit_stream import START_MS, Stream

LIKE = {"kind": "interaction", "v": 1, "occurred_at": START_MS, "platform": "twitter",
        "account": "GansuTravel", "action": "like"}  # fmt: skip
READING = {"kind": "reading", "v": 1, "occurred_at": START_MS, "platform": "twitter",
           "account": "GansuTravel", "metric": "followers"}  # fmt: skip
CHECKPOINT = '["checkpoint"]'


async def audited(stream: Stream, folder: Path, **changes: Any) -> AuditResult:
    """The audit of an export of a stream, whose manifest has these changes."""
    await stream.export(folder)
    write_manifest(folder, read_manifest(folder).model_copy(update=changes))
    return audit_export(folder)


async def test_an_id_that_counts_in_two_partitions_is_named(tmp_path: Path) -> None:
    """The aggregator finds duplicates within a partition, and so does the recount: each alone would agree."""
    stream = Stream(partitions=2)
    stream.append(0, [LIKE | {"event_id": "e1"}, LIKE | {"event_id": "e2"}])
    stream.append(1, [LIKE | {"event_id": "e2"}, LIKE | {"event_id": "e3"}])
    [found] = (await audited(stream, tmp_path / "export")).differences
    assert found.line == (
        "TWICE    event e2 counts in several partitions: it should be in one only in partitions 0, 1"
    )


async def test_a_figure_whose_readings_are_in_two_partitions_is_named(tmp_path: Path) -> None:
    """Each partition follows its own readings: what the figure gained between them is in neither."""
    stream = Stream(partitions=2)
    stream.append(0, [READING | {"event_id": "r1", "value": 100}])
    stream.append(1, [READING | {"event_id": "r2", "value": 150}])
    [found] = (await audited(stream, tmp_path / "export")).differences
    assert "readings of twitter" in found.line
    assert found.partitions == (0, 1)


async def test_events_in_partitions_that_were_added_are_named(tmp_path: Path) -> None:
    """They are in the log and in no figure, since the stream began with fewer partitions."""
    stream = Stream(partitions=2)
    stream.append(0, [LIKE | {"event_id": "e1"}])
    stream.append(1, [LIKE | {"event_id": "e2"}])
    stream.forged[1, CHECKPOINT] = None
    stream.forged[1, '["account","twitter","GansuTravel"]'] = None
    result = await audited(stream, tmp_path / "export", stream_partitions=1)
    assert any("1 events of partition 1, which was added later" in each.text for each in result.differences)


async def test_alerts_of_a_stream_that_was_copied_are_noted(tmp_path: Path) -> None:
    """They stand at offsets of the other log: they are not compared, and not missing."""
    rules = '[[milestone]]\nname = "likes"\nscope = "account"\nmetric = "like"\nlist = [2]\n'
    stream = Stream(partitions=1, rules=rules)
    stream.append(0, [LIKE | {"event_id": f"e{number}"} for number in range(3)])
    stream.milestone("account", ["twitter", "GansuTravel"], "like", 2, 3)
    [alert] = stream.alerts
    alert["as_of"] = [{"partition": 5, "offset": 99}]
    assert (await audited(stream, tmp_path / "own")).verdict == "DIFFERS"
    alert["carried_from"] = "gansu"
    result = await audited(stream, tmp_path / "carried")
    assert result.verdict == "AGREES, WITH NOTES"
    assert result.notes == (
        "1 alerts were decided in namespace gansu before it was copied into this one; the audit of that "
        "stream compares them",
    )


async def test_a_gap_on_record_is_noted_and_the_rest_is_compared(tmp_path: Path) -> None:
    """Records removed before they were counted: if the checkpoint names them all, the rest can be recounted.
    If it does not, what was counted of them is not known."""
    stream = Stream(partitions=1)
    for number in range(5):
        stream.append(0, [LIKE | {"event_id": f"e{number}"}])
    checkpoint = next(json.loads(r.value or b"") for r in stream.totals() if r.key == CHECKPOINT.encode())
    gap = {"begin": 0, "end": 3, "noticed_at": START_MS}
    stream.forged[0, CHECKPOINT] = checkpoint | {"gaps": [gap], "forgotten_ids": 7}
    await stream.export(tmp_path / "whole")
    events = read_manifest(tmp_path / "whole").events

    def begun_at(offset: int) -> Any:
        [part] = events.partitions
        return events.model_copy(update={"partitions": (part.model_copy(update={"begin": offset}),)})

    result = await audited(stream, tmp_path / "covered", events=begun_at(3))
    assert result.exact
    assert result.verdict == "AGREES, WITH NOTES"
    assert (
        "3 records of partition 0 (offsets 0 to 2) were removed before they were counted" in result.notes[0]
    )
    assert "the ids of 7 events of partition 0" in result.notes[1]
    result = await audited(stream, tmp_path / "more", events=begun_at(4))
    assert result.verdict == "CANNOT BE DETERMINED"
    assert len(result.notes) == 2
    result = await audited(stream, tmp_path / "begun", events=begun_at(4), stream_begins=(4,))
    assert result.exact
