"""What an implementation reports of a run, and how implementations are compared."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

#: (platform, account, action) or (hashtag, action) -> gross count
Counts = Mapping[tuple[str, ...], int]
#: (window, scope, *subject, action) -> count within the window
Rolling = Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run of one implementation. ``counts`` has "accounts" and "hashtags"; ``rolling`` may be missing."""

    events_per_s: float
    rss_mb: float
    cpu_seconds_per_million: float
    counts: Mapping[str, Counts]
    rolling: Rolling | None = None


def require_equal(runs: Mapping[str, RunResult]) -> None:
    """End the benchmark unless all implementations counted the same, to the unit."""
    (first_name, first), *others = runs.items()
    for name, other in others:
        for what, counts in first.counts.items():
            _require_same(f"{what} of {first_name} and {name}", counts, other.counts[what])
    keeping = [(name, run.rolling) for name, run in runs.items() if run.rolling is not None]
    for name, rolling in keeping[1:]:
        _require_same(f"rolling counts of {keeping[0][0]} and {name}", keeping[0][1], rolling)


def _require_same(what: str, one: Counts, other: Counts) -> None:
    differing = [key for key in sorted(one.keys() | other.keys()) if one.get(key, 0) != other.get(key, 0)]
    if differing:
        key = differing[0]
        raise SystemExit(
            f"the {what} differ in {len(differing)} places, first {'/'.join(key)}: "
            f"{one.get(key, 0):,} and {other.get(key, 0):,}"
        )


def medians(runs: list[RunResult]) -> dict[str, float]:
    """Median rate, memory and CPU time of an implementation."""
    return {
        "events_per_s": round(statistics.median(run.events_per_s for run in runs)),
        "rss_mb": round(statistics.median(run.rss_mb for run in runs)),
        "cpu_seconds_per_million": round(statistics.median(run.cpu_seconds_per_million for run in runs), 2),
    }
