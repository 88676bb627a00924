"""Counts the log again and takes the published totals apart, both into tables of figures.

The rules are those of the log contract and of schemas.totals; the code (sql/recount.sql, sql/published.sql)
is the audit's own. Afterwards the engine holds these tables:

| table | rows |
|---|---|
| record | the records of the log, and how many entries came before each |
| non_event | the entries that are not events: clock records, and what cannot be read |
| checkpoint | partition, last_offset, stream_time_ms: up to where the published totals count |
| dedup_window | partition, segment_events, segments, segment_ms: the rule of duplicates |
| tick, segment | clock records that move stream time; where each dedup segment begins |
| event, duplicate, counted | the events of the log, those that are duplicates, (view) the rest |
| void | the voids that count, and why one does not hold (void_problem) |
| acted, reported | (views) interactions and posts that count, and readings that count |
| subjects(events) | (macro) the subjects that an event counts for: scope, s1, s2 |
| minute | the counts of each minute of a broadcast |
| late | partition, late: events too late for every rolling count |
| rolling | partition, width_ms, start_ms, scope, s1, s2, action, value: buckets of the rolling counts |
| published_rolling | the same, as published |
| since | readings that an older release counted without following them, and up to which offset |
| history | readings: where each figure stands, and what it gained and lost up to then |
| recounted | partition, scope, s1, s2, metric, value: the figures that follow from the log |
| published | the same, as published |
| unreadable | partition, key: records of the totals that schemas.totals does not know |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.audit.recounting.engine import Engine

#: The rule of duplicates where no checkpoint has one.
DEFAULT_DEDUP_WINDOW = {"segment_events": 250_000, "segments": 2, "segment_ms": 7 * 86_400_000}

_COUNTING = (
    "duplicate", "counted", "void", "acted", "reported", "minute", "bucket_level", "late", "bucket_range",
    "rolling", "subjects", "alike", "summed", "reading", "reading_change", "history", "recounted", "deltas",
    "counters",
)  # fmt: skip
_TOTALS = ("unreadable", "readable", "checkpoint", "unreadable_checkpoint", "readable_checkpoint")


def recount(engine: Engine, events: Sequence[Path], totals: Path) -> None:
    """Make all tables from the Parquet files of an export."""
    for name in ("record", "non_event", "event"):
        engine.run(f"recount.{name}", files=[str(file) for file in events])
    engine.run("published.published_record", file=str(totals))
    for name in _TOTALS:
        engine.run(f"published.{name}")
    engine.run("published.dedup_window", **DEFAULT_DEDUP_WINDOW)
    for name in ("published_entry", "since"):
        engine.run(f"published.{name}")
    for name in ("repeated", "tick", "segment"):
        engine.run(f"recount.{name}")
    for partition, segment_events, segment_ms, size in engine.rows("recount.sizes"):
        _follow_segments(engine, partition, segment_events, segment_ms, size)
    for name in _COUNTING:
        engine.run(f"recount.{name}")
    for name in ("published", "published_rolling", "not_followed", "dropped_minutes"):
        engine.run(f"published.{name}")


def _follow_segments(
    engine: Engine, partition: int, segment_events: int, segment_ms: int, events: int
) -> None:
    """Fill the table `segment`. A dedup segment ends with its ``segment_events``-th event, or at the first
    clock record that is ``segment_ms`` past the stream time at which it began (or past the first stream time,
    if it began before that)."""
    segment = first = began_ms = 0
    while True:
        engine.run("recount.segment_begins", partition=partition, segment=segment, first=first)
        segment += 1
        if not began_ms and (found := engine.rows("recount.next_tick", partition=partition, bound_ms=0)):
            began_ms = found[0][2]  # no clock record before: it counts from the first one within it
        ends = engine.rows("recount.next_tick", partition=partition, bound_ms=began_ms + segment_ms)
        full = first + segment_events
        if began_ms and ends and ends[0][1] <= full:
            _, first, began_ms = ends[0]
        elif events > full:
            passed = engine.rows("recount.last_tick", partition=partition, ordinal=full)
            began_ms = passed[0][1] if passed else 0
            first = full
        else:
            return
