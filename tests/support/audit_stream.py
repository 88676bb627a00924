"""Streams for tests of the audit: a log and its published figures, counted in the plainest way.

This counting is independent of the aggregator's and the audit's: dictionaries and loops, one event at a time,
as the rules say.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.alerts import alert_id
from schemas.topics import ALERTS, EVENTS, TOTALS, qualified
from services.audit.export import write_export
from services.audit.recounting.manifest import Manifest
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, Span

START_MS = 1_782_084_000_000
ACCOUNTS = [
    ("twitter", "GansuTravel"),
    ("twitter", "GansuHeritage"),
    ("facebook", "VisitGansu"),
    ("instagram", "gansu.heritage"),
]
TAGS = ["fuxiceremony", "伏羲大典", "linxiaapricot", "gansuheritage"]
INTERACTIONS = ("like", "comment", "repost", "quote", "share", "mention")
HISTORY = ("gained", "lost", "falls", "downward_adjustments", "resets", "reset_by", "late", "before_reset")


@dataclass
class Stream:
    """A namespace in memory. ``dedup_window`` is (segment_events, segments[, segment_ms])."""

    partitions: int = 2
    dedup_window: tuple[int, ...] = (1000, 2)
    log: dict[int, list[Record]] = field(default_factory=dict)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    #: Entries that replace the counted ones, or with None remove them: (partition, key) -> value.
    forged: dict[tuple[int, str], dict[str, Any] | None] = field(default_factory=dict)
    #: How many records of a partition are counted; all records for a partition that is not in it.
    counted_records: dict[int, int] = field(default_factory=dict)
    rules: str = ""

    def __post_init__(self) -> None:
        self.log = {partition: self.log.get(partition, []) for partition in range(self.partitions)}

    def append(self, partition: int, content: Any, stamp_ms: int | None = None) -> int:
        """Append a record, as JSON of ``content`` or as the given bytes. Returns its offset."""
        records = self.log[partition]
        value = content if isinstance(content, bytes) else json.dumps(content).encode()
        if stamp_ms is None:
            entries = content if isinstance(content, list) else [content]
            clocks = [
                each["stream_time"] for each in entries if isinstance(each, dict) and "stream_time" in each
            ]
            stamp_ms = max(START_MS + 1000 * len(records), *clocks, 0)  # no clock is ahead of the broker's
        records.append(Record(partition, len(records), stamp_ms, None, value))
        return len(records) - 1

    def totals(self) -> list[Record]:
        """engagement.totals.v1 of the counted records, with the forged entries."""
        found = []
        for partition, records in self.log.items():
            counted = records[: self.counted_records.get(partition, len(records))]
            entries = {json.dumps(list(key), separators=(",", ":"), ensure_ascii=False): value
                       for key, value in count(partition, counted, self.dedup_window).items()}  # fmt: skip
            entries |= {key: value for (at, key), value in self.forged.items() if at == partition}  # type: ignore[misc]
            found += [
                Record(
                    partition,
                    offset,
                    START_MS,
                    key.encode(),
                    None if value is None else json.dumps(value).encode(),
                )
                for offset, (key, value) in enumerate(entries.items())
            ]
        return found

    def alert_records(self) -> list[Record]:
        """engagement.alerts.v1."""
        return [
            Record(0, offset, alert["decided_at"], alert["id"].encode(), json.dumps(alert).encode())
            for offset, alert in enumerate(self.alerts)
        ]

    def as_of(self) -> list[dict[str, int]]:
        """The offsets up to which the stream is counted."""
        return [
            {"partition": p, "offset": self.counted_records.get(p, len(records)) - 1}
            for p, records in self.log.items()
        ]

    def figure(self, *key: str) -> dict[str, int]:
        """The gross actions of a subject over all partitions."""
        merged: dict[str, int] = {}
        for partition, records in self.log.items():
            counted = records[: self.counted_records.get(partition, len(records))]
            entry = count(partition, counted, self.dedup_window).get(key, {})
            for action, number in entry.get("actions", {}).items():
                merged[action] = merged.get(action, 0) + number
        return merged

    def milestone(self, scope: str, subject: Iterable[str], metric: str, threshold: int, total: int,
                  **changes: Any) -> dict[str, Any]:  # fmt: skip
        """Publish a milestone as of the counted offsets."""
        subject = list(subject)
        alert = {
            "id": alert_id("milestone", scope, *subject, metric, threshold),
            "v": 1,
            "kind": "milestone",
            "rule": "test",
            "scope": scope,
            "subject": subject,
            "metric": metric,
            "occurred_at": START_MS,
            "decided_at": START_MS,
            "top_contributors": [],
            "as_of": self.as_of(),
            "text": "a milestone",
            "threshold": threshold,
            "total": total,
            **changes,
        }
        self.alerts.append(alert)
        return alert

    async def export(self, directory: Path, **settings: Any) -> Manifest:
        """An export of this stream, written by the real exporter."""
        rules = directory.with_name(f"{directory.name}-rules.toml")
        rules.write_text(self.rules, encoding="utf-8")
        made = Settings(alerts={"rules": rules}, **settings)
        return await write_export(made, FakeReader(self, made.namespace), directory)


class FakeReader:
    """Reads a Stream as TopicReader reads Kafka."""

    def __init__(self, stream: Stream, namespace: str = "") -> None:
        events = [record for records in stream.log.values() for record in records]
        totals = stream.totals()
        self._records = {
            qualified(namespace, EVENTS.name): (stream.partitions, events),
            qualified(namespace, TOTALS.name): (stream.partitions, totals),
            qualified(namespace, ALERTS.name): (1, stream.alert_records()),
        }

    async def spans(self, topic: str) -> list[Span]:
        partitions, records = self._records[topic]
        ends = dict.fromkeys(range(partitions), 0)
        for record in records:
            ends[record.partition] = record.offset + 1
        return [Span(partition, 0, end) for partition, end in ends.items()]

    async def stream(self, topic: str, spans: Iterable[Span]) -> AsyncIterator[list[Record]]:
        for span in spans:
            records = [r for r in self._records[topic][1] if r.partition == span.partition]
            if records:
                yield records


def count(
    partition: int, records: list[Record], dedup_window: tuple[int, ...]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The totals entries of one partition, by key."""
    entries: dict[tuple[Any, ...], dict[str, Any]] = {}
    ordinal = counted = duplicates = rejected = late = stream_time = max_event_time = 0
    acted: list[tuple[int, dict[str, Any], str, int]] = []  # (event time, event, action, quantity)
    segment = first = began = 0
    segment_ms = dedup_window[2] if len(dedup_window) > 2 else 7 * 86_400_000
    last_seen: dict[str, int] = {}
    key: tuple[Any, ...]

    def add(key: tuple[Any, ...], action: str, number: int, at: int, **more: Any) -> None:
        entry = entries.setdefault(key, {"actions": {}, "last_ms": 0, **more})
        entry["actions"][action] = entry["actions"].get(action, 0) + number
        entry["last_ms"] = max(entry["last_ms"], at // 1000 * 1000)

    for record in records:
        try:
            content = json.loads(record.value or b"")
        except ValueError:
            rejected += 1
            continue
        for event in content if isinstance(content, list) else [content]:
            kind = event.get("kind") if isinstance(event, dict) else None
            if kind == "clock":
                if event["stream_time"] > stream_time:
                    stream_time = event["stream_time"]
                    if began and stream_time - began >= segment_ms:
                        segment, first, began = segment + 1, ordinal, stream_time
                    began = began or stream_time
                continue
            if kind not in ("interaction", "post", "reading", "broadcast"):
                rejected += 1
                continue
            if ordinal == first + dedup_window[0]:
                segment, first, began = segment + 1, ordinal, stream_time
            ordinal += 1
            known = last_seen.get(event["event_id"])
            last_seen[event["event_id"]] = segment
            if known is not None and segment - known <= dedup_window[1]:
                duplicates += 1
                continue
            counted += 1
            at = event["occurred_at"]
            max_event_time = max(max_event_time, at)
            if kind == "reading":
                subject = event["account"]
                if event.get("broadcast_id"):
                    subject = "broadcast/" + event["broadcast_id"]
                if event.get("post_id"):
                    subject = "post/" + event["post_id"]
                read(entries, ("reading", event["platform"], subject, event["metric"]), event["value"], at)
            elif kind == "broadcast":
                key = ("broadcast", event["broadcast_id"])
                entry = entries.setdefault(key, {"actions": {}, "last_ms": 0})
                entry.setdefault("phases", {})[event["phase"]] = at
                entry["account"] = event["account"]
            else:
                action = event["action"] if kind == "interaction" else "post"
                number = event.get("quantity", 1) if kind == "interaction" else 1
                for key in _keys(event, kind):
                    add(key, action, number, at)
                late += at < floor_ms(stream_time, 600_000)
                acted.append((at, event, action, number))
                if event.get("broadcast_id") and stream_time < at // 60_000 * 60_000 + 65_000:
                    minute = ("minute", event["broadcast_id"], at // 60_000 * 60_000)
                    actions = entries.setdefault(minute, {"actions": {}})["actions"]
                    actions[action] = actions.get(action, 0) + number
    for key, entry in entries.items():
        if key[0] == "minute":
            entry["closed"] = stream_time >= key[2] + 65_000
        if key[0] == "post":
            entry.setdefault("account", "")
        entry["offset"] = len(records) - 1
    entries |= _buckets(acted, stream_time)
    if records:
        entries["checkpoint",] = {
            "partition": partition, "offset": len(records) - 1, "stream_time_ms": stream_time,
            "max_event_time_ms": max_event_time,
            "counted": counted, "duplicates": duplicates, "late": late, "rejected": rejected,
            "ordinal": ordinal, "segment_events": dedup_window[0], "segments": dedup_window[1],
            "segment_ms": segment_ms,
        }  # fmt: skip
    return entries


#: Bucket width -> (length of its longest window, width of the next coarser buckets).
BUCKETS = {1_000: (300_000, 60_000), 60_000: (3_600_000, 600_000), 600_000: (86_400_000, 600_000)}


def floor_ms(stream_time: int, width: int) -> int:
    """The oldest event time that buckets of a width still hold."""
    length, coarser = BUCKETS[width]
    return ((stream_time // width + 1) * width - length) // coarser * coarser if stream_time else 0


def _buckets(
    acted: list[tuple[int, dict[str, Any], str, int]], stream_time: int
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The buckets of the rolling counts: each event in the finest ones that hold its time, if any do."""
    counts: dict[tuple[int, int], dict[tuple[str, ...], int]] = {}
    for at, event, action, number in acted:
        width = next((width for width in BUCKETS if at >= floor_ms(stream_time, width)), None)
        if width is None:
            continue
        tags = event.get("hashtags") or []
        names = [("account", event["platform"], event["account"]), ("account", "")]
        names += [("hashtag", tag) for tag in tags] + [("hashtag", "")] * len(tags)
        bucket = counts.setdefault((width, at // width * width), {})
        for name in names:
            bucket[*name, action] = bucket.get((*name, action), 0) + number
    return {
        ("bucket", *bucket, 0): {"rows": [[*name, number] for name, number in rows.items()]}
        for bucket, rows in counts.items()
    }


def read(entries: dict[tuple[Any, ...], dict[str, Any]], key: tuple[Any, ...], value: int, at: int) -> None:
    """Count the next reading of a figure by the rules of readings."""
    entry = entries.setdefault(key, {"value": value, "at_ms": at, "first": value} | dict.fromkeys(HISTORY, 0))
    old = entry["value"]
    if at < entry["at_ms"]:
        entry["late"] += 1
        return
    entry |= {"value": value, "at_ms": at}
    if key[-1] == "viewers":
        entry["first"] = value
        return
    if value == old:
        return
    hidden, entry["before_reset"] = entry["before_reset"], 0
    if old - value >= 100 and value * 2 < old:
        entry["before_reset"] = old
        entry["resets"] += 1
        entry["reset_by"] -= old - value
    elif hidden and value > old and value * 2 >= hidden:
        entry["resets"] += 1
        entry["reset_by"] += hidden - old
        old = hidden
    if not entry["before_reset"]:
        entry["gained"] += max(0, value - old)
        entry["lost"] += max(0, old - value)
        entry["downward_adjustments" if key[-1] == "reads" else "falls"] += value < old


def _keys(event: dict[str, Any], kind: str) -> list[tuple[Any, ...]]:
    keys: list[tuple[Any, ...]] = [("account", event["platform"], event["account"])]
    keys += [("hashtag", tag) for tag in event.get("hashtags") or ()]
    keys += [("campaign", event["campaign"])] if event.get("campaign") else []
    keys += [("broadcast", event["broadcast_id"])] if event.get("broadcast_id") else []
    post_format = event.get("post_format" if kind == "interaction" else "format")
    keys += [("format", post_format)] if post_format else []
    if kind == "interaction":
        actor = event.get("actor") or {}
        keys += [("post", event["platform"], event["post_id"])] if event.get("post_id") else []
        keys += [("country", actor["country"])] if actor.get("country") else []
        keys += [("vip",)] if actor.get("verified") else []
    return keys


def random_event(draw: random.Random, number: int, at: int) -> dict[str, Any]:
    """An event of any kind in the form of the log. Some ids repeat."""
    platform, account = draw.choice(ACCOUNTS)
    event: dict[str, Any] = {
        "v": 1,
        "event_id": f"e{draw.randrange(number + 1) if draw.random() < 0.1 else number}",
        "occurred_at": at + draw.randrange(-90_000, 2_000),
        "platform": platform,
        "account": account,
    }
    kind = draw.choices(["interaction", "post", "reading", "broadcast"], [80, 5, 10, 5])[0]
    event["kind"] = kind
    if kind in ("interaction", "post"):
        event |= {"hashtags": draw.sample(TAGS, draw.randrange(4))}
        event |= {"campaign": "fuxi-ceremony-2026"} if draw.random() < 0.3 else {}
    if draw.random() < 0.4 or kind == "broadcast":
        event["broadcast_id"] = "fuxi-2026"
    if kind == "interaction":
        event["action"] = draw.choice([*INTERACTIONS, "read", "follow", "unlike"])
        event |= {"quantity": draw.randrange(1, 50)} if draw.random() < 0.2 else {}
        event |= {"post_id": f"p{draw.randrange(9)}"} if draw.random() < 0.7 else {}
        event |= {"post_format": draw.choice(["live", "video"])} if draw.random() < 0.5 else {}
        event["actor"] = {"id": "00", "country": draw.choice(["CN", "DE"]), "verified": draw.random() < 0.1}
    elif kind == "post":
        event |= {"post_id": f"p{draw.randrange(9)}", "format": draw.choice(["graphic", "link"])}
    elif kind == "reading":
        event |= {"metric": draw.choice(["followers", "viewers", "reads"]), "value": draw.randrange(1000)}
        event |= {"post_id": f"p{draw.randrange(3)}"} if draw.random() < 0.2 else {}
    else:
        event["phase"] = draw.choice(["preheat", "started", "ended"])
    return event


def partition_of(event: dict[str, Any], partitions: int) -> int:
    """The partition to which ingest sends the events of one series."""
    name = event.get("post_id") or event.get("broadcast_id") or f"{event['platform']} {event['account']}"
    return zlib.crc32(name.encode()) % partitions


def random_stream(
    seed: int,
    events: int = 2000,
    partitions: int = 3,
    dedup_window: tuple[int, ...] = (1000, 2),
    *,
    started_once: bool = False,
) -> Stream:
    """A stream with every kind of entry: batches, single objects, clock records, garbage, repeated ids."""
    draw, stream, number, at = random.Random(seed), Stream(partitions, dedup_window), 0, START_MS
    while number < events:
        partition = draw.randrange(partitions)
        batch = []
        for _ in range(draw.randrange(1, 30)):
            event = random_event(draw, number, at)
            if started_once and event["kind"] == "broadcast":
                phase = "preheat" if number < 10 else "started"
                event |= {
                    "event_id": phase,
                    "phase": phase,
                    "occurred_at": START_MS + (number >= 10) * 200_000,
                }
            number += 1
            at += draw.randrange(2000)
            if event["kind"] in ("reading", "broadcast"):
                home = partition_of(event, partitions)  # each series in one partition
                stream.append(home, event | {"event_id": f"{event['event_id']}-{home}"}, at)
            else:
                batch.append(event | {"event_id": f"{event['event_id']}-{partition}"})  # an id lives in one
        batch = batch or [{"kind": "clock", "v": 1, "stream_time": at, "source": "event"}]
        if draw.random() < 0.3:
            batch.insert(
                draw.randrange(len(batch)), {"kind": "clock", "v": 1, "stream_time": at, "source": "event"}
            )
        stream.append(partition, batch if len(batch) > 1 or draw.random() < 0.5 else batch[0], at)
        if draw.random() < 0.05:
            stream.append(partition, draw.choice([b"", b"{", b"[[]]", b'[{"kind":"poll"}]', b"\xff"]), at)
    return stream
