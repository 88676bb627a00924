"""The one check of every run: what the aggregator publishes, against the recount of the log."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.topics import EVENTS, REJECTED, TOTALS, qualified
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, open_reader
from tests.faults.recount import DedupWindow, Key, Recount, recount

#: Scopes of engagement.totals.v1 that are figures; the others are the aggregator's own.
SCOPES = (
    "account",
    "hashtag",
    "campaign",
    "country",
    "format",
    "vip",
    "post",
    "broadcast",
    "minute",
    "reading",
)
_SAMPLE = re.compile(r"^fanpulse_(account|hashtag)_(rolling|events_total)\{(.*)\} (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class DiffersError(AssertionError):
    """What is published is not what the log adds up to."""


@dataclass
class Published:
    """What one partition's figures are, as published."""

    totals: dict[Key, dict[str, Any]] = field(default_factory=dict)
    checkpoint: dict[str, int] = field(default_factory=dict)
    rolling: Counter[Key] = field(default_factory=Counter)  # (window, scope, ...subject, action)
    events: Counter[Key] = field(default_factory=Counter)  # (scope, ...subject, action), from the metrics
    dead_letters: list[tuple[int, int]] = field(default_factory=list)  # (offset, index)


async def check(settings: Settings, expositions: Iterable[str], dedup_window: DedupWindow) -> int:
    """The number of events seen. Raises DiffersError unless every figure is right, to the unit.

    ``expositions``: /metrics of all workers, taken after all of the log had been counted.
    """
    log = await read(settings, EVENTS.name)
    published = await read_published(settings, expositions)
    found: list[str] = []
    seen = 0
    for partition, records in log.items():
        expected = recount([(r.offset, r.value) for r in records], dedup_window)
        seen += expected.checkpoint["ordinal"]
        found += [f"partition {partition}: {line}" for line in differences(expected, published[partition])]
    if found:
        more = [f"... and {len(found) - 12} more"] if len(found) > 12 else []
        raise DiffersError("\n".join([f"{len(found)} figures differ from the recount", *found[:12], *more]))
    return seen


def differences(expected: Recount, found: Published) -> Iterator[str]:
    """A line for each figure that is not as it should be."""
    for name, value in sorted(expected.checkpoint.items()):
        if found.checkpoint.get(name) != value:
            yield f"checkpoint {name}: {found.checkpoint.get(name)}, expected {value}"
    for key in sorted(expected.totals.keys() | found.totals.keys(), key=str):
        right, entry = expected.totals.get(key), found.totals.get(key)
        # Fields beyond those that were recounted are not compared here.
        if right is None or entry is None or {name: entry.get(name) for name in right} != right:
            yield f"{key}: {entry}, expected {right}"
    yield from _unequal("rolling", expected.rolling, found.rolling)
    events: Counter[Key] = Counter()
    for key, entry in expected.totals.items():
        if key[0] in ("account", "hashtag"):
            events.update({(*key, action): count for action, count in entry["actions"].items()})
    yield from _unequal("metric", events, found.events)
    if sorted(found.dead_letters) != expected.rejected:
        missing = Counter(expected.rejected) - Counter(found.dead_letters)
        surplus = Counter(found.dead_letters) - Counter(expected.rejected)
        yield f"dead letters: missing {sorted(missing.elements())}, surplus {sorted(surplus.elements())}"


def _unequal(what: str, expected: Counter[Key], found: Counter[Key]) -> Iterator[str]:
    for key in sorted(key for key in expected.keys() | found.keys() if expected[key] != found[key]):
        yield f"{what} {key}: {found[key]}, expected {expected[key]}"


async def read(settings: Settings, topic: str) -> dict[int, list[Record]]:
    """The committed records of a topic by partition, empty ones included, in order."""
    async with open_reader(settings) as reader:
        name = qualified(settings.namespace, topic)
        spans = await reader.spans(name)
        records: dict[int, list[Record]] = {span.partition: [] for span in spans}
        async for batch in reader.stream(name, spans):
            records[batch[0].partition] += batch
    return records


async def read_published(settings: Settings, expositions: Iterable[str]) -> dict[int, Published]:
    """By source partition: the newest totals, the dead letters, and what the metrics show."""
    totals = await read(settings, TOTALS.name)
    found = {partition: Published() for partition in totals}
    for partition, records in totals.items():
        latest = {record.key: record.value for record in records}
        for name, value in latest.items():
            key = tuple(json.loads(name or b"null"))
            if value is not None and key[0] in SCOPES:
                found[partition].totals[key] = json.loads(value)
            elif value is not None and key == ("checkpoint",):
                found[partition].checkpoint = json.loads(value)
    for record in (
        record for records in (await read(settings, REJECTED.name)).values() for record in records
    ):
        dead_letter = json.loads(record.value or b"null")
        found[dead_letter["partition"]].dead_letters.append((dead_letter["offset"], dead_letter["index"]))
    for exposition in expositions:
        for kind, labels, count in samples(exposition):
            own = found[int(labels["partition"])]
            subject = [labels[name] for name in ("platform", "account", "hashtag") if name in labels]
            figure = (labels["scope"], *subject, labels["action"])
            if "_other" in subject:
                continue  # the sum over subjects without series of their own, of which there are none
            if kind == "rolling":
                own.rolling[(labels["window"], *figure)] += count
            else:
                own.events[figure] += count
    return found


def samples(exposition: str) -> Iterator[tuple[str, Mapping[str, str], int]]:
    """(rolling or events_total, labels and scope, value) of accounts and hashtags."""
    for line in exposition.splitlines():
        if match := _SAMPLE.match(line):
            labels = {name: json.loads(f'"{text}"') for name, text in _LABEL.findall(match[3])}
            yield match[2], labels | {"scope": match[1]}, int(float(match[4]))
