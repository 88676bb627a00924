"""Recording rules: sums over the source partitions. A partition that moves is neither doubled nor dropped.

Series of the aggregator carry the source partition. While a partition moves, two workers may expose it for a
moment, or none. So there are two steps:

rebalance_safe  The count of one partition. It is the highest of the workers that expose the partition: they
                count the same log, so the higher one is the newer one. While no worker exposes the
                partition, it is what the rule recorded last, for a minute. The rule reads its own last
                result, because the named accounts and _other, the sum of all others, must be of one
                moment. An account that leaves the top K is not kept this way: its partition is still
                exposed, and its count is already in _other.
total, sum      The sum over partitions.

A killed worker had exposed up to a flush interval of events that its successor counts again, so a counter may
fall back for a second before it catches up. max_over_time keeps that out of sums and rates. It must not be
applied to _other, which falls when an account or hashtag gets a series of its own. For the same reason _other
has no rate.

Published figures come from engagement.totals.v1, not from here: rate() extrapolates.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent
from typing import Any

from prometheus.promql import (
    OTHER,
    PARTITION_IS_COUNTED,
    interactions,
    max_by,
    none_of,
    one_of,
    sum_over_partitions,
    withdrawals,
)

Rule = dict[str, Any]
Group = dict[str, Any]

#: Level of a recorded series -> the labels of its subject.
SUBJECTS: dict[str, tuple[str, ...]] = {"account": ("platform", "account"), "hashtag": ("hashtag",)}
#: Counters of a partition, besides events counted.
PARTITION_COUNTERS = (
    "duplicate_events",
    "late_events",
    "rejected_entries",
    "voided_events",
    "reading_downward_adjustments",
    "reading_resets",
    "late_readings",
)
_PARTITION = ("namespace", "partition")
_COUNTED_NOW = max_by(_PARTITION, PARTITION_IS_COUNTED)
_COUNTED_LATELY = max_by(_PARTITION, f"max_over_time({PARTITION_IS_COUNTED}[1m])")


def groups() -> list[Group]:
    """The groups of rules, as Prometheus reads them."""
    return [
        *(_group(f"{level}-events", _events(level)) for level in SUBJECTS),
        _group("rolling", (rule for level in SUBJECTS for rule in _rolling(level))),
        _group("account-readings", _readings()),
        _group("broadcast-events", _broadcasts()),
        _group("stream", _stream()),
    ]


def _group(name: str, rules: Iterator[Rule]) -> Group:
    return {"name": f"fanpulse-{name}", "rules": list(rules)}


def record(name: str, expr: str) -> Rule:
    """A recording rule."""
    return {"record": name, "expr": expr}


def _either(*exprs: str) -> str:
    """The first of the expressions that has a series, label set by label set."""
    return "\nor\n".join(exprs)


def _bracketed(expr: str) -> str:
    return f"(\n{indent(expr, '  ')}\n)"


def _last_result(name: str) -> str:
    """What a rule recorded last, for partitions that no worker counts now and one did within a minute."""
    return _bracketed(
        f"{name}\nand on (namespace, partition)\n{_COUNTED_LATELY}\n"
        f"unless on (namespace, partition)\n{_COUNTED_NOW}"
    )


def _events(level: str) -> Iterator[Rule]:
    metric = f"fanpulse_{level}_events"
    rate = f"{level}:{metric}:rate1m"
    yield from _counted(level, ("namespace", *SUBJECTS[level], "action", "partition"))
    yield record(
        f"{level}:fanpulse_{level}_interactions:rate1m",
        f"sum without (action) ({rate}{{{interactions()}}})",
    )
    if level == "account":
        yield from _net(f"{level}:{metric}")


def _counted(level: str, labels: tuple[str, ...]) -> Iterator[Rule]:
    """Total and rate of the events of named subjects, and of the sum of all others."""
    metric = f"fanpulse_{level}_events"
    safe = f"{level}_partition:{metric}:rebalance_safe"
    named, other = f'{metric}_total{{{level}!="{OTHER}"}}', f'{metric}_total{{{level}="{OTHER}"}}'
    highest = f"{max_by(labels, f'max_over_time({named}[1m])')}\nand\n{max_by(labels, named)}"
    yield record(safe, _either(_bracketed(highest), max_by(labels, other), _last_result(safe)))
    yield record(f"{level}:{metric}:total", sum_over_partitions(safe))
    yield record(f"{level}:{metric}:rate1m", sum_over_partitions(f'rate({safe}{{{level}!="{OTHER}"}}[1m])'))


def _net(series: str) -> Iterator[Rule]:
    """What was taken back, under the name of what it takes back; and what is left."""
    total, withdrawn = f"{series}:total", f"{series}:withdrawn"
    taken_back = [
        f"label_replace(sum without (action) ({total}{{{one_of('action', names)}}}),"
        f' "action", "{action}", "action", ".*")'
        for action, names in withdrawals().items()
    ]
    yield record(withdrawn, _either(*taken_back))
    every = [name for names in withdrawals().values() for name in names]
    yield record(
        f"{series}:net", _either(f"({total} - {withdrawn})", f"{total}{{{none_of('action', every)}}}")
    )


def _rolling(level: str) -> Iterator[Rule]:
    metric = f"fanpulse_{level}_rolling"
    labels = ("namespace", *SUBJECTS[level], "action", "window", "partition")
    safe = f"{level}_partition:{metric}:rebalance_safe"
    yield record(safe, _either(max_by(labels, metric), _last_result(safe)))
    yield record(f"{level}:{metric}:sum", sum_over_partitions(safe))


def _only_rising(level: str, metric: str, labels: tuple[str, ...]) -> Iterator[Rule]:
    """Counters without _other. The highest of the last minute stands while the series may be exposed."""
    safe = f"{level}_partition:{metric}:rebalance_safe"
    highest = max_by(labels, f"max_over_time({metric}_total[1m])")
    gone = _bracketed(f"{highest}\nunless on (namespace, partition)\n{_COUNTED_NOW}")
    exposed = _bracketed(_either(max_by(labels, f"{metric}_total"), gone))
    yield record(safe, f"{highest}\nand\n{exposed}")
    yield record(f"{level}:{metric}:total", sum_over_partitions(safe))


def _readings() -> Iterator[Rule]:
    """Gross: what a cumulative figure gained and lost from reading to reading. The reading is net."""
    labels = ("namespace", *SUBJECTS["account"], "metric", "partition")
    for change in ("gained", "lost"):
        yield from _only_rising("account", f"fanpulse_account_reading_{change}", labels)


def _broadcasts() -> Iterator[Rule]:
    yield from _counted("broadcast", ("namespace", "broadcast", "action", "partition"))


def _stream() -> Iterator[Rule]:
    """Counters of a partition: part of its state, so they too fall back for a second after a kill."""
    counted = "fanpulse_events_counted"
    for counter in (counted, *(f"fanpulse_{name}" for name in PARTITION_COUNTERS)):
        yield record(
            f"partition:{counter}:rebalance_safe",
            max_by(_PARTITION, f"max_over_time({counter}_total[1m])"),
        )
    safe = f"partition:{counted}:rebalance_safe"
    yield record(f"namespace:{counted}:total", sum_over_partitions(safe))
    yield record(f"namespace:{counted}:rate1m", sum_over_partitions(f"rate({safe}[1m])"))
    for outcome in ("accepted", "rejected"):
        metric = f"fanpulse_ingest_events_{outcome}"
        yield record(f"namespace:{metric}:rate1m", f"sum by (namespace) (rate({metric}_total[1m]))")
