"""Compares published figures with recounted ones, to the unit, partition by partition."""

from __future__ import annotations

from typing import Any

from services.audit.recounting.differences import Difference, in_partitions, moment, named, subject_of
from services.audit.recounting.engine import Engine
from services.audit.recounting.manifest import Manifest


def compare_figures(engine: Engine) -> list[Difference]:
    """A difference per figure of engagement.totals.v1 that is not what the log says."""
    engine.run("compare.differing")
    found = [_figure(row) for row in engine.dicts("compare.differences")]
    for partition, broadcast_id, start_ms in engine.rows("compare.left_open"):
        found.append(
            Difference(
                kind="figure",
                word="DIFFERS",
                text=f"minute {broadcast_id} {moment(int(start_ms))}: published as open, but it has closed "
                f"in partition {partition}",
                scope="minute",
                subject=(broadcast_id, start_ms),
                metric="closed",
                partitions=(partition,),
            )
        )
    return found


def compare_rolling(engine: Engine) -> list[Difference]:
    """A difference per bucket and count of the rolling counts that is not what the log says."""
    return [_bucket(row) for row in engine.dicts("compare.rolling_differences")]


def compare_checkpoints(engine: Engine, manifest: Manifest) -> list[Difference]:
    """Checkpoints that are missing or that the log does not have, and records that cannot be read."""
    found = []
    checkpoints = dict(engine.rows("compare.checkpoints"))
    events = dict(engine.rows("compare.events_by_partition"))
    for part in manifest.events.partitions:
        offset, count = checkpoints.get(part.partition), events.get(part.partition, 0)
        if not manifest.belongs(part.partition):
            if count:
                text = (
                    f"{count:,} events of partition {part.partition}, which was added later and does not "
                    "belong to the stream: they are in no figure"
                )
                found.append(_checkpoint("MISSING", text, part.partition, None, count))
        elif offset is None and count:
            text = f"checkpoint of partition {part.partition}: it has {count:,} events, and none is counted"
            found.append(_checkpoint("MISSING", text, part.partition, None, count))
        elif offset is not None and offset >= part.end:
            text = (
                f"checkpoint of partition {part.partition}: counted up to offset {offset:,}, "
                f"but the log ends before {part.end:,}"
            )
            found.append(_checkpoint("DIFFERS", text, part.partition, offset, part.end - 1))
    known = {part.partition for part in manifest.events.partitions}
    for partition in sorted(set(checkpoints) - known):
        text = f"checkpoint of partition {partition}, which the log does not have"
        found.append(_checkpoint("EXTRA", text, partition, checkpoints[partition], None))
    for partition, key in engine.rows("compare.unreadable"):
        name = f"record {key}" if key else "a record without a key"
        text = f"{name} of engagement.totals.v1 cannot be read {in_partitions([partition])}"
        found.append(Difference("record", "DIFFERS", text, partitions=(partition,)))
    return found


def compare_entries(engine: Engine, manifest: Manifest) -> list[Difference]:
    """Partitions of an export that do not hold as many entries as were exported."""
    held = dict(engine.rows("compare.entries_by_partition"))
    found = []
    for part in manifest.events.partitions:
        count = held.get(part.partition, 0)
        if count != part.entries:
            word = "MISSING" if count < part.entries else "EXTRA"
            text = (
                f"{abs(count - part.entries):,} of the {part.entries:,} entries exported from partition "
                f"{part.partition} ({count - part.entries:+,})"
            )
            found.append(Difference("file", word, text, "", (), "", count, part.entries, (part.partition,)))
    return found


def find_strays(engine: Engine) -> list[Difference]:
    """What the log has in more than one partition, although it belongs to one: the aggregator looks for
    duplicates, and follows a reading or a broadcast, within a partition."""
    found = []
    for kind, name, partitions in engine.rows("compare.strays"):
        what = {
            "id": f"event {name} counts in several partitions",
            "reading": f"readings of {name} are in several partitions, so what they gained is not known",
            "broadcast": f"phases of broadcast {name} are in several partitions",
        }[kind]
        text = f"{what}: it should be in one only {in_partitions(partitions)}"
        found.append(Difference("record", "TWICE", text, partitions=tuple(partitions)))
    return found


def find_gaps(engine: Engine) -> list[Difference]:
    """Records of the export that lack some of their entries."""
    return [
        Difference(
            kind="file",
            word="MISSING",
            text=f"{expected - count:,} of {expected:,} entries of the record at offset {offset:,} "
            f"{in_partitions([partition])}",
            published=count,
            recounted=expected,
            partitions=(partition,),
        )
        for partition, offset, count, expected in engine.rows("compare.gaps")
    ]


def _checkpoint(
    word: str, text: str, partition: int, published: int | None, recounted: int | None
) -> Difference:
    return Difference(
        "checkpoint", word, text, "checkpoint", (), "offset", published, recounted, partitions=(partition,)
    )


def _figure(row: dict[str, Any]) -> Difference:
    scope, metric, parts = row["scope"], row["metric"], row["parts"]
    published, recounted = row["published"], row["recounted"]
    if not _adds_up(scope, metric):
        published, recounted = parts[0]["published"], parts[0]["recounted"]
    published, recounted = _whole(published), _whole(recounted)
    numbers = tuple(part["partition"] for part in parts)
    word = "MISSING" if published is None else "EXTRA" if recounted is None else "DIFFERS"
    subject = subject_of(row["s1"], row["s2"])
    shown = f"{_values(metric, published, recounted)} {_where(metric, parts)}"
    return Difference(
        kind="figure",
        word=word,
        text=f"{_name(scope, subject, metric)}: {shown}",
        scope=scope,
        subject=subject,
        metric=metric,
        published=published,
        recounted=recounted,
        partitions=numbers,
    )


def _bucket(row: dict[str, Any]) -> Difference:
    published, recounted = _whole(row["published"]), _whole(row["recounted"])
    subject = subject_of(row["s1"], row["s2"])
    scope, action = row["scope"], row["action"]
    name = named(scope, subject, action) if subject else f"{scope} (all) {action}"
    bucket = f"in the {row['width_ms'] // 1000:,} s from {moment(row['start_ms'])}"
    return Difference(
        kind="figure",
        word="MISSING" if published is None else "EXTRA" if recounted is None else "DIFFERS",
        text=f"rolling {name} {bucket}: {_values(action, published, recounted)} "
        f"{in_partitions([row['partition']])}",
        scope=f"rolling {scope}",
        subject=subject,
        metric=action,
        published=published,
        recounted=recounted,
        partitions=(row["partition"],),
    )


def _name(scope: str, subject: tuple[str, ...], metric: str) -> str:
    if scope == "minute" and subject[1:] and subject[1].isdecimal():
        return named(scope, (subject[0], moment(int(subject[1]))), metric)
    return named(scope, subject, metric)


def _adds_up(scope: str, metric: str) -> bool:
    return not (scope == "reading" or _is_time(metric))


def _is_time(metric: str) -> bool:
    return metric.endswith("_ms") or metric.startswith("phase ")


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _values(metric: str, published: int | None, recounted: int | None) -> str:
    if _is_time(metric):
        shown = [value if value is None else moment(value) for value in (published, recounted)]
        return f"published {shown[0] or 'nothing'}, recounted {shown[1] or 'nothing'}"
    shown = [value if value is None else f"{value:,}" for value in (published, recounted)]
    return (
        f"published {shown[0] or 'nothing'}, recounted {shown[1] or 'nothing'} "
        f"({(published or 0) - (recounted or 0):+,})"
    )


def _where(metric: str, parts: list[dict[str, Any]]) -> str:
    numbers = [part["partition"] for part in parts]
    if len(parts) == 1 or _is_time(metric):
        return in_partitions(numbers)
    shares = ", ".join(
        f"{part['partition']} ({(part['published'] or 0) - (part['recounted'] or 0):+,})" for part in parts
    )
    return f"in partitions {shares}"
