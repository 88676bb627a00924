"""An audit's outcome as lines for a terminal: what was read and compared, what differs, the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from services.audit.recounting.differences import moment
from services.audit.recounting.milestones import Milestone
from services.audit.recounting.result import AuditResult, Window, verdict_line

#: The most lines of one sort; the report has all of them.
LIMIT = 200


def summary(result: AuditResult, limit: int = LIMIT) -> Iterator[str]:
    """The lines, the verdict last."""
    counts = result.counts
    stream = f"namespace {result.namespace}" if result.namespace else "the stream without a namespace"
    yield f"Audit of {stream}, read {result.read_at}"
    if not result.obstacle:
        yield (
            f"  log         {counts.events:,} events: {counts.counted:,} count ({counts.late:,} too late for "
            f"rolling counts), {counts.duplicates:,} duplicates; {counts.rejected:,} entries are not events"
        )
        yield f"  as of       {_as_of(result)}"
        yield f"  totals      {counts.figures:,} figures compared"
        yield f"  rolling     {counts.rolling:,} counts compared, in buckets of a second to ten minutes"
        yield f"  alerts      {len(result.milestones):,} milestones, {len(result.spikes):,} spikes"
    if result.window is not None:
        yield from _bounded((line for line in _window(result, result.window)), limit)
    yield from _bounded((_milestone(each) for each in result.milestones), limit)
    yield from _bounded((f"  voided      {each.text}" for each in result.voids), limit)
    yield from _bounded((f"NOTE     {note}" for note in result.notes), limit)
    yield from _bounded((difference.line for difference in result.differences), limit)
    yield verdict_line(result)


def _bounded(lines: Iterator[str], limit: int) -> Iterator[str]:
    left_out = 0
    for number, line in enumerate(lines):
        if number < limit:
            yield line
        else:
            left_out += 1
    if left_out:
        yield f"         and {left_out:,} more; --report FILE has all"


def _as_of(result: AuditResult) -> str:
    if not result.as_of:
        return "nothing is published"
    return ", ".join(f"partition {each['partition']}: offset {each['offset']:,}" for each in result.as_of)


def _window(result: AuditResult, window: Window) -> Iterator[str]:
    begin = "the start" if window.from_ms is None else moment(window.from_ms)
    end = "the end" if window.to_ms is None else moment(window.to_ms)
    yield f"Recounted from {begin} up to, but without, {end}:"
    for each in result.window_totals:
        name = f"#{each.subject[0]}" if each.scope == "hashtag" else " ".join(each.subject)
        yield f"  {each.scope:<8} {name:<40} {each.action:<15} {each.total:>15,}"


def _milestone(each: Milestone) -> str:
    figure = f"{each.total or 0:,}"
    if each.crossing is None:
        return f"  {each.name}: {figure}"
    crossing = each.crossing
    return (
        f"  {each.name}: {figure}; crossed by event {crossing.event_id} of {moment(crossing.occurred_at_ms)} "
        f"(partition {crossing.partition}, offset {crossing.offset:,}, index {crossing.index})"
    )
