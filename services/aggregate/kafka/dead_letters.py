"""Entries of the log that are no events, as dead letters for engagement.rejected.v1."""

from __future__ import annotations

from base64 import b64encode

import msgspec

from services.aggregate.counting.decode import BadEntry

MAX_RAW_BYTES = 200_000


def dead_letter(entry: BadEntry, partition: int, offset: int, now_seconds: float) -> bytes:
    """The record of a rejected entry. Its id is its address in the log: every reading gives the same one."""
    return msgspec.json.encode(
        {
            "id": f"log-{partition}-{offset}-{max(entry.index, 0)}",
            "reason": entry.reason,
            "field": "",
            "detail": entry.detail,
            "source": "log",
            "received_at": int(now_seconds * 1000),
            "index": max(entry.index, 0),
            "partition": partition,
            "offset": offset,
            "raw": b64encode(entry.raw[:MAX_RAW_BYTES]).decode(),
        }
    )
