"""Writes the streams of the audit's tests to a real broker, as the services write them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.topics import ALERTS, EVENTS, TOTALS, qualified
from services.runtime.kafka import make_consumer, make_producer, partitions_of
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record
from tests.support.audit_stream import Stream


async def publish(settings: Settings, stream: Stream) -> None:
    """Write the log, the totals in one transaction, and the alerts."""
    await write_events(settings, (record for records in stream.log.values() for record in records))
    await write_totals(settings, stream.totals())
    await write_alerts(settings, stream.alerts)


async def write_events(settings: Settings, records: Iterable[Record]) -> None:
    """Write records to the log. In an empty topic each record gets its offset in the stream."""
    producer = make_producer(settings, linger_ms=5)
    await producer.start()
    try:
        topic = qualified(settings.namespace, EVENTS.name)
        for sent in [
            await producer.send(topic, r.value, partition=r.partition, timestamp_ms=r.timestamp_ms)
            for r in records
        ]:
            await sent
    finally:
        await producer.stop()


async def write_totals(settings: Settings, records: Iterable[Record], *, commit: bool = True) -> None:
    """Write records to the totals in one transaction, which leaves a marker at the end of each partition."""
    producer = make_producer(settings, transactional_id=qualified(settings.namespace, "tests"))
    await producer.start()
    try:
        await producer.begin_transaction()
        topic = qualified(settings.namespace, TOTALS.name)
        for sent in [await producer.send(topic, r.value, r.key, partition=r.partition) for r in records]:
            await sent
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()
    await until_ended(settings, topic)


async def until_ended(settings: Settings, topic: str) -> None:
    """Wait until no transaction is open: the broker confirms a commit before every reader can see it."""
    uncommitted = make_consumer(settings, isolation_level="read_uncommitted")
    async with make_consumer(settings) as committed, uncommitted, asyncio.timeout(30):
        partitions = await partitions_of(committed, topic)
        while await committed.end_offsets(partitions) != await uncommitted.end_offsets(partitions):  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.02)


async def write_alerts(settings: Settings, alerts: Iterable[Mapping[str, Any]]) -> None:
    """Write alerts under their ids."""
    producer = make_producer(settings)
    await producer.start()
    try:
        for alert in alerts:
            await producer.send_and_wait(
                qualified(settings.namespace, ALERTS.name), json.dumps(alert).encode(), alert["id"].encode()
            )
    finally:
        await producer.stop()
