"""Counting the log again, and taking the published totals apart, both into tables of figures.

The rules are those of the log contract and of schemas.totals; the code (sql/recount.sql, sql/published.sql)
is the audit's own. Afterwards the engine holds these tables:

| table | rows |
|---|---|
| record | the records of the log, and how many entries came before each |
| aside | the entries that are no events: clocks, and what cannot be read |
| position | partition, last_offset, present_ms: up to where the published totals count |
| horizon | partition, generation_events, generations: the rule of duplicates |
| event, duplicate, counted | the events of the log, those that are duplicates, (view) the rest |
| acted, reported | (views) interactions and posts that count, and readings that count |
| minute | what each minute of a broadcast took |
| recounted | partition, scope, s1, s2, metric, value: the figures that follow from the log |
| published | the same, as the totals tell them |
| unreadable | partition, key: records of the totals that are none of schemas.totals |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.audit.engine import Engine

#: The rule of duplicates where no position says another: generation_events, generations.
DEFAULT_HORIZON = (250_000, 2)

_COUNTING = (
    "repeated", "duplicate", "counted", "acted", "reported", "minute", "summed", "recounted", "counters",
)  # fmt: skip
_TOTALS = ("unreadable", "readable", "position", "unreadable_position", "readable_position")


def recount(engine: Engine, events: Sequence[Path], totals: Path) -> None:
    """Make all tables from the Parquet files of an export."""
    for name in ("record", "aside", "event"):
        engine.run(f"recount.{name}", files=[str(file) for file in events])
    engine.run("published.published_record", file=str(totals))
    for name in _TOTALS:
        engine.run(f"published.{name}")
    generation_events, generations = DEFAULT_HORIZON
    engine.run("published.horizon", generation_events=generation_events, generations=generations)
    for name in _COUNTING:
        engine.run(f"recount.{name}")
    for name in ("published_entry", "published", "given_up"):
        engine.run(f"published.{name}")
