"""Voids: the audit recounts without voided events, by its own rule, and lists them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from schemas.events import void_id
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.alerts.deciding.decided import Decided
from services.alerts.deciding.figures import Figures
from services.alerts.deciding.milestones import Milestones
from services.alerts.deciding.rule_file import parse_rules
from services.audit.recounting.summary import summary
from services.runtime.topic_scan import Record
from tests.support.audit_stream import START_MS, Stream, random_stream
from tests.unit.audit.test_figures import LIKE, audited, likes, lines

SLIP = LIKE | {"event_id": "slip", "quantity": 1_000_000_000}


def void_of(event: dict[str, Any], partition: int, offset: int, index: int) -> dict[str, Any]:
    """The void of the event at an address."""
    return {
        "kind": "void", "v": 1, "event_id": void_id(partition, offset, index), "partition": partition,
        "offset": offset, "index": index, "event": event, "reason": "a slip of the importer",
        "by": "the operator", "voided_at": START_MS,
    }  # fmt: skip


def counted_by_the_aggregator(stream: Stream, every: int = 1_000_000) -> None:
    """Publish what the aggregator's own state gives, stored after each ``every`` records."""

    def totals() -> list[Record]:
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

    stream.totals = totals  # type: ignore[method-assign]


def void_some(stream: Stream, seed: int) -> int:
    """Write voids of random events that count to the end of their partition, some twice; how many count."""
    chance, voided = random.Random(seed), 0
    for partition, records in stream.log.items():
        seen = set[str]()
        for offset, record in enumerate(list(records)):
            try:
                entries = json.loads(record.value or b"")
            except ValueError:
                continue
            for index, entry in enumerate(entries if isinstance(entries, list) else [entries]):
                name = entry.get("event_id") if isinstance(entry, dict) else None
                first, seen = name not in seen, seen | {str(name)}
                usable = isinstance(entry, dict) and entry.get("kind") in ("interaction", "post")
                if usable and first and chance.random() < 0.2 and is_event(entry):
                    for _ in range(chance.choice((1, 1, 2))):
                        stream.append(partition, [void_of(entry, partition, offset, index)])
                    voided += 1
    return voided


def is_event(entry: dict[str, Any]) -> bool:
    state = PartitionState(0, DedupWindow(10, 1))
    return state.apply(0, json.dumps(entry).encode()) == []


@pytest.mark.parametrize("seed", range(4))
async def test_the_aggregator_agrees_with_a_recount_without_voided_events(seed: int, tmp_path: Path) -> None:
    """Totals, rolling counts, minutes and checkpoints of a log with voids agree, flush by flush."""
    stream = random_stream(seed, events=600, dedup_window=(100_000, 2))
    voided = void_some(stream, seed)
    counted_by_the_aggregator(stream, every=50 + seed)
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    assert (result.verdict, len(result.voids)) == ("AGREES", voided)
    assert voided > 30


async def test_the_report_says_what_was_voided_by_whom_and_why(tmp_path: Path) -> None:
    """A slip of a thousand million likes: the totals are those without it, and the report lists it."""
    stream = Stream(partitions=1)
    stream.append(0, [*likes(3), SLIP])
    stream.append(0, [void_of(SLIP, 0, 0, 3)])
    counted_by_the_aggregator(stream)
    result = await audited(stream, tmp_path)
    assert (result.verdict, result.counts.counted) == ("AGREES", 4)
    (void,) = result.as_json()["voids"]
    assert (void["event_id"], void["quantity"], void["by"]) == ("slip", 1_000_000_000, "the operator")
    (line,) = (line for line in summary(result) if line.startswith("  voided"))
    assert "1,000,000,000 like of twitter GansuTravel" in line
    assert line.endswith("a slip of the importer")


@pytest.mark.parametrize(
    ("void", "problem"),
    [
        (void_of(SLIP | {"quantity": 2}, 0, 0, 3), "it carries another event"),
        (void_of(SLIP, 0, 0, 2), "it carries another event"),
        (void_of(SLIP, 0, 0, 9), "no event that counts"),
    ],
)
async def test_a_void_of_something_else_is_found(void: dict[str, Any], problem: str, tmp_path: Path) -> None:
    """The aggregator takes back what a void carries. If that is not what the log has, totals differ."""
    stream = Stream(partitions=1)
    stream.append(0, [*likes(3), SLIP])
    stream.append(0, [void])
    counted_by_the_aggregator(stream)
    result = await audited(stream, tmp_path)
    assert result.verdict == "DIFFERS"
    assert any(problem in note for note in result.notes)


@pytest.mark.parametrize(
    "void",
    [
        void_of(LIKE | {"event_id": "never"}, 1, 0, 0),
        void_of(LIKE | {"event_id": "later"}, 0, 7, 0),
        void_of(SLIP | {"action": "share"}, 0, 0, 3),
        void_of(SLIP, 0, 0, 3) | {"event_id": "void:0:0:2"},
    ],
)
async def test_a_void_that_cannot_hold_is_rejected_by_both(void: dict[str, Any], tmp_path: Path) -> None:
    """Another partition, a later address, more than was counted, another id: a dead letter, and a note."""
    stream = Stream(partitions=1)
    stream.append(0, [*likes(3), SLIP])
    stream.append(0, [void])
    counted_by_the_aggregator(stream)
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    assert (result.counts.rejected, len(result.voids), len(result.notes)) == (1, 0, 1)


# -- milestones ---------------------------------------------------------------------------------------------

RULES = """
[[milestone]]
name = "likes"
scope = "account"
metric = "like"
thresholds = [2, 5, 1_000]
"""


async def decided(stream: Stream, tmp_path: Path, *, at_each_record: bool = True) -> list[str]:
    """The kinds of alerts that the alerts service decides of a stream, and what the audit finds wrong."""
    rules, on_record = parse_rules(RULES, "rules"), Decided()
    figures, milestones = Figures(1), Milestones(rules.milestone, on_record)
    state = PartitionState(0, DedupWindow(*stream.dedup_window))
    stream.rules = RULES
    for record in stream.log[0]:
        state.apply(record.offset, record.value)
        for key, value in take_changes(state):
            figures.feed(0, key, value)
        if not at_each_record and record is not stream.log[0][-1]:
            continue
        changed = figures.take_changed()
        for decide in (milestones.retract, milestones.decide):
            for alert in decide(figures, changed, START_MS):
                on_record.note(alert)
                stream.alerts.append(json.loads(alert.model_dump_json()))
    counted_by_the_aggregator(stream)
    result = await audited(stream, tmp_path)
    return lines(result)


def slipped() -> Stream:
    """A slip, its void, and a true crossing of 5 later."""
    stream = Stream(partitions=1)
    stream.append(0, [*likes(3), SLIP])
    stream.append(0, [void_of(SLIP, 0, 0, 3)])
    stream.append(0, likes(3, start=10))
    return stream


async def test_retracted_and_told_again_agrees(tmp_path: Path) -> None:
    """Milestones of the slip, their retractions, and those that are true: the audit agrees with all."""
    stream = slipped()
    assert await decided(stream, tmp_path) == []
    found = [(each["kind"], each["threshold"], each.get("retractions")) for each in stream.alerts]
    assert found == [
        ("milestone", 2, 0), ("milestone", 5, 0), ("milestone", 1_000, 0),
        ("retraction", 2, None), ("retraction", 5, None), ("retraction", 1_000, None),
        ("milestone", 2, 1), ("milestone", 5, 1),
    ]  # fmt: skip


async def test_what_was_void_before_it_was_seen_is_never_told(tmp_path: Path) -> None:
    """If the service looks only after the void, there is nothing to retract; the audit agrees too."""
    stream = slipped()
    assert await decided(stream, tmp_path, at_each_record=False) == []
    assert [each["threshold"] for each in stream.alerts] == [2, 5]


@pytest.mark.parametrize(
    ("left_out", "found"),
    [
        ([5], "milestone account twitter GansuTravel like 1,000: no longer reached since events were voided"),
        ([7], "milestone account twitter GansuTravel like 5: reached by event e11"),
        ([4], "milestone account twitter GansuTravel like 5: decided again, though it was not retracted"),
    ],
)
async def test_a_retraction_or_a_milestone_that_is_missing_is_found(
    left_out: list[int], found: str, tmp_path: Path
) -> None:
    """The retraction of what no longer holds, and the milestone that was reached again."""
    stream = slipped()
    (tmp_path / "whole").mkdir()
    await decided(stream, tmp_path / "whole")
    stream.alerts = [each for number, each in enumerate(stream.alerts) if number not in left_out]
    result = await audited(stream, tmp_path)
    assert any(found in line for line in lines(result)), lines(result)


async def test_a_retraction_of_what_holds_is_false(tmp_path: Path) -> None:
    """A retraction whose figure is still at the threshold is named."""
    stream = slipped()
    (tmp_path / "whole").mkdir()
    await decided(stream, tmp_path / "whole")
    stream.alerts[5] |= {"as_of": [{"partition": 0, "offset": 0}]}
    result = await audited(stream, tmp_path)
    assert any(line.startswith("FALSE    retraction of milestone") for line in lines(result)), lines(result)
