"""What a partition of the log adds up to, counted in the plainest way: one event after the other.

Nothing here is shared with the aggregator, its types and constants included. The rules are those of
schemas/totals.py (what is counted for whom), docs/adr/0005 (duplicates), docs/adr/0003 (time) and
docs/adr/0010 (readings).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SECOND, MINUTE, TEN_MINUTES, DAY = 1_000, 60_000, 600_000, 86_400_000
GRACE = 5_000  # how long a minute of a broadcast takes events after its end
KEPT = 48 * 3_600_000  # how long a minute of a broadcast is kept after its start
WINDOWS = {
    "1m": (SECOND, 60_000),
    "5m": (SECOND, 300_000),
    "1h": (MINUTE, 3_600_000),
    "24h": (TEN_MINUTES, DAY),
}
#: Fields that an event of a kind needs besides those that all need.
NEEDED = {"interaction": ["action"], "post": ["post_id"], "reading": ["metric", "value"],
          "broadcast": ["broadcast_id", "phase"], "clock": []}  # fmt: skip
Key = tuple[Any, ...]


@dataclass
class Recount:
    """What a partition adds up to: totals by key, checkpoint, rolling counts, and what is not an event."""

    totals: dict[Key, dict[str, Any]] = field(default_factory=dict)
    rolling: Counter[Key] = field(default_factory=Counter)  # (window, scope, ...subject, action)
    rejected: list[tuple[int, int]] = field(default_factory=list)  # (offset, index)
    checkpoint: Counter[str] = field(default_factory=Counter)
    readings: dict[Key, list[tuple[int, int]]] = field(default_factory=dict)  # (value, time), in order


@dataclass(frozen=True)
class DedupWindow:
    """How long an id counts as seen: see docs/adr/0005."""

    segment_events: int
    segments: int
    segment_ms: int


def recount(log: Iterable[tuple[int, bytes | None]], dedup_window: DedupWindow) -> Recount:
    """Count the records, (offset, value), of one partition."""
    found = Recount()
    checkpoint, kept = found.checkpoint, []
    segment = first = began = 0  # of the segment: its number, events before it, stream time then
    seen_in: dict[str, int] = {}  # id -> the segment in which it was seen last
    for offset, value in log:
        for index, entry in enumerate(entries(value)):
            stream_time, ordinal = checkpoint["stream_time_ms"], checkpoint["ordinal"]
            if not is_event(entry):
                found.rejected.append((offset, index))
            elif entry["kind"] == "clock":
                checkpoint["stream_time_ms"] = max(stream_time, entry["stream_time"])
                if began and checkpoint["stream_time_ms"] - began >= dedup_window.segment_ms:
                    segment, first, began = segment + 1, ordinal, checkpoint["stream_time_ms"]
                began = began or checkpoint["stream_time_ms"]
            else:
                if ordinal - first >= dedup_window.segment_events:
                    segment, first, began = segment + 1, ordinal, stream_time
                checkpoint["ordinal"] += 1
                before = seen_in.get(entry["event_id"])
                seen_in[entry["event_id"]] = segment
                if before is None or segment - before > dedup_window.segments:
                    kept.append((entry, stream_time))
        checkpoint["offset"] = offset
    checkpoint["counted"], checkpoint["rejected"] = len(kept), len(found.rejected)
    checkpoint["duplicates"] = checkpoint["ordinal"] - len(kept)
    for event, stream_time in kept:
        count(found, event, stream_time)
    for key, readings in found.readings.items():
        found.totals[key] = history(readings, key[-1])
    for key in [key for key in found.totals if key[0] == "minute"]:
        end = key[2] + MINUTE
        found.totals[key]["closed"] = end + GRACE <= checkpoint["stream_time_ms"]
        if key[2] + KEPT <= checkpoint["stream_time_ms"]:
            del found.totals[key]
    return found


def entries(value: bytes | None) -> list[Any]:
    """The entries of a record; a record that is not JSON is one entry that is none."""
    try:
        content = json.loads(value or b"")
    except ValueError:
        return [None]
    return content if isinstance(content, list) else [content]


def is_event(entry: Any) -> bool:
    """Whether an entry can be counted, or is a clock."""
    if not isinstance(entry, dict) or entry.get("kind") not in NEEDED or entry.get("v") != 1:
        return False
    if entry["kind"] == "clock":
        return bool(entry["stream_time"])
    texts = [entry.get(name) for name in ("event_id", "platform", "account")]
    return (
        all(isinstance(text, str) and text for text in texts)
        and isinstance(entry.get("occurred_at"), int)
        and all(entry.get(name) is not None for name in NEEDED[entry["kind"]])
    )


def count(found: Recount, event: dict[str, Any], stream_time: int) -> None:
    """Count an event that is no duplicate and was seen at a stream time."""
    totals, checkpoint, at, kind = found.totals, found.checkpoint, event["occurred_at"], event["kind"]
    checkpoint["max_event_time_ms"] = max(checkpoint["max_event_time_ms"], at)
    if kind == "reading":
        about = f"broadcast/{event['broadcast_id']}" if "broadcast_id" in event else event["account"]
        subject = f"post/{event['post_id']}" if "post_id" in event else about
        key = ("reading", event["platform"], subject, event["metric"])
        found.readings.setdefault(key, []).append((event["value"], at))
    elif kind == "broadcast":
        entry = totals.setdefault(("broadcast", event["broadcast_id"]), {"actions": {}, "last_ms": 0})
        entry.setdefault("phases", {})[event["phase"]] = at
        entry["account"] = event["account"]
        entry |= {"title": event["title"]} if event.get("title") else {}
    else:
        checkpoint["late"] += (
            0 < at < (stream_time // TEN_MINUTES + 1) * TEN_MINUTES - DAY if stream_time else 0
        )
        action, quantity = event.get("action", "post"), event.get("quantity", 1)
        for key in subjects(event):
            entry = totals.setdefault(key, {"actions": {}, "last_ms": 0})
            entry["actions"][action] = entry["actions"].get(action, 0) + quantity
            entry["last_ms"] = max(entry["last_ms"], at // SECOND * SECOND)
            if key[0] == "post":
                entry["account"] = event["account"]
            if key[0] in ("account", "hashtag"):
                for window, (width, length) in WINDOWS.items():
                    end = (checkpoint["stream_time_ms"] // width + 1) * width
                    found.rolling[(window, *key, action)] += quantity if end - length <= at < end else 0
            start = at // MINUTE * MINUTE
            if key[0] == "broadcast" and start + MINUTE + GRACE > stream_time:
                minute = totals.setdefault(("minute", key[1], start), {"actions": {}})
                minute["actions"][action] = minute["actions"].get(action, 0) + quantity


def history(readings: list[tuple[int, int]], metric: str) -> dict[str, int]:
    """Where a figure stands after its readings, and what it gained, lost and jumped by between them."""
    value, newest = readings[0]
    first, hidden = value, None  # what it was before the reset that was its last change
    found: Counter[str] = Counter()
    for new, at in readings[1:]:
        if at < newest:
            found["late"] += 1
            continue
        newest = at
        if metric == "viewers":
            value = first = new
        elif value - new >= 100 and new < value / 2:
            found["resets"] += 1
            found["reset_by"] += new - value
            value, hidden = new, value
        elif new != value:
            if hidden is not None and new > value and new >= hidden / 2:
                found["resets"] += 1
                found["reset_by"] += hidden - value
                value = hidden
            found["gained"] += max(0, new - value)
            found["lost"] += max(0, value - new)
            if new < value:
                found["downward_adjustments" if metric == "reads" else "falls"] += 1
            value, hidden = new, None
    names = ("gained", "lost", "falls", "downward_adjustments", "resets", "reset_by", "late")
    return {"value": value, "at_ms": newest, "first": first} | {name: found[name] for name in names}


def subjects(event: dict[str, Any]) -> set[Key]:
    """For whom an interaction or a post counts."""
    is_post, actor = event["kind"] == "post", event.get("actor") or {}
    own_format = event.get("format" if is_post else "post_format")
    found: set[Key] = {("account", event["platform"], event["account"])}
    found |= {("hashtag", tag) for tag in event.get("hashtags") or ()}
    found |= {("campaign", event["campaign"])} if event.get("campaign") else set()
    found |= {("format", own_format)} if own_format else set()
    found |= {("broadcast", event["broadcast_id"])} if event.get("broadcast_id") else set()
    if not is_post:
        found |= {("post", event["platform"], event["post_id"])} if event.get("post_id") else set()
        found |= {("country", actor["country"])} if actor.get("country") else set()
        found |= {("vip",)} if actor.get("verified") else set()
    return found
