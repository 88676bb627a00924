"""Copies a stream into a new namespace with another number of partitions, exactly or not at all.

Voided events are left out, with their voids.

What counts under the old stream's rule of duplicates is copied, in order of stream time, with its clock
records. So every total, minute and history of a reading of the new stream is that of the old one; the audit
of both shows it. Posts and alerts are carried over: what was told is not told again.
"""

from __future__ import annotations

import json
import time
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from fanpulse.repartition.counted import CountedEvents, in_order, voided_in
from fanpulse.repartition.target import NewLog
from schemas.topics import ALERTS, EVENTS, POSTS, TOPICS, TOTALS, qualified
from schemas.totals import Checkpoint, TotalsView
from services.aggregate.counting.dedup import DedupWindow
from services.runtime.kafka import broker_unavailable, make_producer
from services.runtime.settings import Settings
from services.runtime.stream import StreamError, open_stream
from services.runtime.topic_scan import Span, TopicMissingError, open_reader, read_topic


class Copied(NamedTuple):
    """What was carried over. ``partitions``: before, and now. ``clocks_left_out``: of times to come."""

    events: int
    alerts: int
    posts: int
    partitions: tuple[int, int]
    clocks_left_out: int = 0


async def repartition(settings: Settings, partitions: int, namespace: str) -> Copied:
    """Copy the stream of ``settings`` into another namespace. Stop ingest first, and let all be counted.

    Raises StreamError if the log is not fully counted, is written to meanwhile, has lost records, or if the
    namespace has records; and BrokerUnavailableError.
    """
    target = settings.model_copy(
        update={
            "namespace": namespace,
            "kafka": settings.kafka.model_copy(update={"partitions": partitions}),
        }
    )
    stream = await open_stream(settings, (EVENTS, TOTALS, ALERTS, POSTS))
    await _require_empty(target)
    spans, checkpoints = await _fully_counted(settings, stream.partitions())
    await open_stream(target)
    producer = make_producer(target, linger_ms=5)
    try:
        await producer.start()
        posts = await _carry(settings, target, producer, POSTS.name)
        alerts = await _carry(settings, target, producer, ALERTS.name)
        events, clocks_left_out = await _copy_log(settings, target, producer, spans, checkpoints)
    except KafkaError as error:
        raise broker_unavailable(settings.kafka.bootstrap, error) from error
    finally:
        await producer.stop()
    after, _ = await _fully_counted(settings, stream.partitions())
    if after != spans:
        raise StreamError(
            f"the log was written to while it was copied, so namespace {namespace} lacks events; stop "
            "ingest, and copy into another namespace"
        )
    return Copied(events, alerts, posts, (stream.partitions(), partitions), clocks_left_out)


async def _require_empty(target: Settings) -> None:
    async with open_reader(target) as reader:
        for topic in TOPICS:
            name = qualified(target.namespace, topic.name)
            try:
                spans = await reader.spans(name)
            except TopicMissingError:
                continue
            if any(span.end for span in spans):
                raise StreamError(f"{name} has records already; choose a namespace that was never used")


async def _fully_counted(settings: Settings, partitions: int) -> tuple[list[Span], dict[int, Checkpoint]]:
    """The log, and the checkpoints at its end. Raises StreamError if something is not counted or missing."""
    totals = TotalsView()
    for record in await read_topic(settings, qualified(settings.namespace, TOTALS.name)):
        totals.apply(record.partition, record.key or b"", record.value)
    async with open_reader(settings) as reader:
        spans = (await reader.spans(qualified(settings.namespace, EVENTS.name)))[:partitions]
    for span in spans:
        checkpoint = totals.checkpoints.get(span.partition)
        counted = checkpoint.offset + 1 if checkpoint else 0
        if counted < span.end:
            raise StreamError(
                f"partition {span.partition} is counted up to offset {counted:,} of {span.end:,}; stop "
                "ingest, and wait until the aggregator has counted everything"
            )
        if checkpoint and (checkpoint.gaps or checkpoint.forgotten_ids):
            raise StreamError(
                f"partition {span.partition} has lost records before or after they were counted (see "
                "`fanpulse audit`), so it cannot be copied exactly"
            )
    return spans, totals.checkpoints


async def _copy_log(
    settings: Settings,
    target: Settings,
    producer: AIOKafkaProducer,
    spans: list[Span],
    checkpoints: dict[int, Checkpoint],
) -> tuple[int, int]:
    """Copy what counts; how many events, and clock records of times to come, which are left out.

    Raises StreamError if it is not what the checkpoints have.
    """
    window = DedupWindow(
        settings.aggregate.dedup_segment_events,
        settings.aggregate.dedup_segments,
        settings.aggregate.dedup_segment_seconds * 1000,
    )
    partitions: dict[int, CountedEvents] = {}
    now_ms = time.time_ns() // 1_000_000
    for span in spans:
        checkpoint = checkpoints.get(span.partition)
        voided = await voided_in(settings, span) if checkpoint and checkpoint.voided else set()
        if checkpoint and len(voided) != checkpoint.voided:
            raise StreamError(
                f"partition {span.partition}: {checkpoint.voided:,} events were voided, but the log gives "
                f"{len(voided):,}; `fanpulse audit` says what differs"
            )
        partitions[span.partition] = CountedEvents(_window_of(checkpoint, window), voided, now_ms)
    new_log = NewLog(target, producer, target.kafka.partitions, window)
    async for found in in_order(settings, [span for span in spans if span.end > span.begin], partitions):
        if found.event is None:
            await new_log.advance(found.stream_time_ms, found.timestamp_ms)
        else:
            await new_log.add(found.event, found.raw, found.timestamp_ms)
    await new_log.close_up()
    for number, each in partitions.items():
        counted = checkpoints[number].counted if number in checkpoints else 0
        if each.counted != counted:
            raise StreamError(
                f"partition {number}: {counted:,} events were counted, but the log gives {each.counted:,}; "
                f"`fanpulse audit` says what differs, and do not use namespace {target.namespace}"
            )
    return new_log.events, sum(each.clocks_left_out for each in partitions.values())


def _window_of(checkpoint: Checkpoint | None, default: DedupWindow) -> DedupWindow:
    if checkpoint is None:
        return default
    return DedupWindow(checkpoint.segment_events, checkpoint.segments, checkpoint.segment_ms)


async def _carry(settings: Settings, target: Settings, producer: AIOKafkaProducer, name: str) -> int:
    """Copy the latest records of a compacted topic; how many. An alert gets the namespace it comes from."""
    latest: dict[bytes, bytes] = {}
    for record in await read_topic(settings, qualified(settings.namespace, name)):
        latest.pop(record.key or b"", None)
        if record.value is not None:
            latest[record.key or b""] = record.value
    for key, value in latest.items():
        carried = value
        if name == ALERTS.name:
            alert = json.loads(value)
            if alert.get("carried_from") is None:  # else it was copied before
                alert["carried_from"] = settings.namespace
            carried = json.dumps(alert, ensure_ascii=False).encode()
        await producer.send_and_wait(qualified(target.namespace, name), carried, key=key, partition=0)
    return len(latest)
