"""Entries of the log that are not events, as dead letters for engagement.rejected.v1."""

from __future__ import annotations

from schemas.dead_letter import LOG_SOURCE, LogAddress, encode_dead_letter
from schemas.reasons import Rejection
from services.aggregate.counting.decode import BadEntry


def dead_letter(entry: BadEntry, partition: int, offset: int, now_seconds: float) -> bytes:
    """The record of a rejected entry. Its id is its address in the log: every reading gives the same one."""
    return encode_dead_letter(
        Rejection("", entry.reason, entry.detail),
        entry.raw,
        source=LOG_SOURCE,
        received_at=int(now_seconds * 1000),
        index=max(entry.index, 0),
        address=LogAddress(partition, offset),
    )
