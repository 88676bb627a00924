"""The embedded broker, against real clients."""

from __future__ import annotations

from fanpulse.devstack.kafka import EmbeddedKafka
from schemas.topics import EVENTS, qualified
from services.runtime.kafka import make_consumer, make_producer, partitions_of
from services.runtime.settings import Settings


async def test_takes_and_gives_records(kafka: EmbeddedKafka, settings: Settings) -> None:
    """The broker of the run accepts a record on a topic that the fixture made, and gives it back."""
    topic = qualified(settings.namespace, EVENTS.name)
    async with make_producer(settings) as producer:
        sent = await producer.send_and_wait(topic, b"[1]", partition=2)
    async with make_consumer(settings) as consumer:
        partitions = await partitions_of(consumer, topic)
        assert len(partitions) == settings.kafka.partitions
        consumer.assign(partitions)
        record = await consumer.getone()
    assert (record.partition, record.offset, record.value) == (2, sent.offset, b"[1]")
