"""The pieces of PromQL that rules and panels share.

They come from the tables of `schemas.events` and from WINDOWS, so an action or a window that is added there
is in every rule and every panel once you run `python -m grafana.build`.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas import events
from services.aggregate.counting.windows import WINDOWS

#: The account or hashtag of the series that sums up all those without series of their own.
OTHER = "_other"
#: A series of each partition that a worker counts at the moment.
PARTITION_IS_COUNTED = "fanpulse_aggregate_stream_timestamp_seconds"


def one_of(label: str, values: Iterable[str]) -> str:
    """A matcher for any of the values."""
    return f'{label}=~"{"|".join(sorted(values))}"'


def none_of(label: str, values: Iterable[str]) -> str:
    """A matcher for everything but the values."""
    return f'{label}!~"{"|".join(sorted(values))}"'


def interactions() -> str:
    """A matcher for the actions that count as interactions."""
    return one_of("action", events.INTERACTIONS)


def withdrawals() -> dict[str, list[str]]:
    """The actions that can be taken back -> what takes them back."""
    found: dict[str, list[str]] = {}
    for withdrawal, action in events.WITHDRAWALS.items():
        found.setdefault(action, []).append(withdrawal)
    return found


def window(name: str) -> str:
    """A matcher for a rolling window. Raises ValueError if there is no such window."""
    if name not in WINDOWS:
        raise ValueError(f"no window {name}; WINDOWS has {', '.join(WINDOWS)}")
    return f'window="{name}"'


def max_by(labels: Iterable[str], expr: str) -> str:
    """The highest of the series that agree in these labels: of the workers that expose a partition."""
    return f"max by ({', '.join(labels)}) ({expr})"


def sum_over_partitions(expr: str) -> str:
    """The sum of a rebalance-safe series."""
    return f"sum without (partition) ({expr})"
