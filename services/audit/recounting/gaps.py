"""Records that the broker removed before they were counted, as the checkpoints tell of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from services.audit.recounting.differences import moment
from services.audit.recounting.engine import open_engine
from services.audit.recounting.manifest import TOTALS_FILE, Manifest


@dataclass
class Gaps:
    """``passed_over``: by partition, the offsets (begin, end) that were removed before they were counted."""

    passed_over: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def uncovered(self, manifest: Manifest) -> list[tuple[int, int]]:
        """(partition, n) for each partition that lacks offsets up to n-1 of which some were counted."""
        return [
            (partition, begin)
            for partition, begin in manifest.missing_offsets()
            if not self._covers(partition, manifest.begin_of(partition), begin)
        ]

    def _covers(self, partition: int, begin: int, end: int) -> bool:
        for first, after in sorted(self.passed_over.get(partition, [])):
            if first <= begin:
                begin = max(begin, after)
        return begin >= end


def read_gaps(directory: Path, manifest: Manifest, memory_mb: int) -> Gaps:
    """The gaps of an export; none if its totals cannot be read, which others will tell."""
    gaps, notes = Gaps(), []
    try:
        with open_engine(memory_mb) as engine:
            engine.run("published.published_record", file=str(directory / TOTALS_FILE))
            for name in ("unreadable", "readable", "checkpoint"):
                engine.run(f"published.{name}")
            rows = engine.rows("compare.gap_notes")
    except duckdb.Error:
        return gaps
    for partition, text, forgotten in rows:
        for begin, end, noticed_at in _listed(text):
            gaps.passed_over.setdefault(partition, []).append((begin, end))
            notes.append(
                f"{end - begin:,} records of partition {partition} (offsets {begin:,} to {end - 1:,}) were "
                f"removed before they were counted, noticed at {moment(noticed_at)}: their events are in no "
                "figure"
            )
        if forgotten:
            notes.append(
                f"the ids of {forgotten:,} events of partition {partition} had been removed when it was "
                "counted on: a repetition of one of these counts"
            )
    gaps.notes = tuple(notes)
    return gaps


def _listed(text: str | None) -> list[tuple[int, int, int]]:
    try:
        return [
            (int(each["begin"]), int(each["end"]), int(each["noticed_at"]))
            for each in json.loads(text or "[]")
        ]
    except (ValueError, TypeError, KeyError):
        return []
