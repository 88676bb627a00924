"""Hand-made records of engagement.totals.v1, in the form that the aggregator writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.totals import Key, encode_key, encode_value

START_MS = 1_782_120_600_000  # 2026-06-22T09:30:00Z
MINUTE_MS = 60_000
Change = tuple[bytes, bytes]


def entry(key: Key, **value: Any) -> Change:
    """Any entry."""
    return encode_key(key), encode_value(value)


def counted(*key: str, at_ms: int = START_MS, **actions: int) -> Change:
    """An entry with the gross counts of an account, hashtag or campaign."""
    return entry(key, actions=actions, last_ms=at_ms)


def post(platform: str, post_id: str, account: str, **actions: int) -> Change:
    """An entry with the gross counts of a post."""
    return entry(("post", platform, post_id), actions=actions, last_ms=START_MS, account=account)


def reading(platform: str, subject: str, metric: str, value: int, at_ms: int = START_MS) -> Change:
    """The entry of a reading."""
    return entry(("reading", platform, subject, metric), value=value, at_ms=at_ms)


def broadcast(
    broadcast_id: str, account: str = "GansuTravel", title: str | None = None, **phases: int
) -> Change:
    """The entry of a broadcast; phases start at epoch milliseconds."""
    about = {"title": title} if title else {}
    return entry(("broadcast", broadcast_id), actions={}, last_ms=0, phases=phases, account=account, **about)


def minute(broadcast_id: str, start_ms: int, likes: int, *, closed: bool = True) -> Change:
    """The entry of a minute of a broadcast that has likes only."""
    return entry(("minute", broadcast_id, start_ms), actions={"like": likes}, closed=closed)


def checkpoint(partition: int, offset: int, stream_time_ms: int = START_MS, voided: int = 0) -> Change:
    """The entry that ends a transaction."""
    return entry(
        ("checkpoint",),
        partition=partition,
        offset=offset,
        stream_time_ms=stream_time_ms,
        max_event_time_ms=stream_time_ms,
        counted=0,
        duplicates=0,
        late=0,
        rejected=0,
        voided=voided,
        ordinal=0,
        segment_events=250_000,
        segments=2,
    )


def transaction(
    partition: int, offset: int, entries: Iterable[Change], stream_time_ms: int = START_MS, voided: int = 0
) -> list[Change]:
    """Entries and the checkpoint that they belong to."""
    return [*entries, checkpoint(partition, offset, stream_time_ms, voided)]
