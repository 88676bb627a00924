"""Kafka clients of every service, made from the settings."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Collection
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from schemas.topics import TOPICS, Topic, qualified
from services.runtime.settings import KafkaSettings, Settings, SettingsError

#: How long a topic may take from its creation until the broker tells of it.
_KNOWN_SECONDS = 5.0


class BrokerUnavailableError(RuntimeError):
    """The broker cannot be reached, or refuses us."""


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Connection options that every aiokafka client takes."""
    if kafka.bootstrap is None:
        raise SettingsError(
            "kafka.bootstrap is not set and no local stack runs; start one with `fanpulse up`, "
            "or set FANPULSE_KAFKA_BOOTSTRAP"
        )
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        password = kafka.sasl_password.get_secret_value() if kafka.sasl_password else None
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": password,
        }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(kafka)
    return options


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """TLS context with the configured authorities and client certificate."""
    context = ssl.create_default_context(cafile=str(kafka.ssl_cafile) if kafka.ssl_cafile else None)
    if kafka.ssl_certfile:
        context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile)
    return context


async def create_topics(settings: Settings, topics: Collection[Topic] = TOPICS) -> None:
    """Create the topics of the namespace that do not exist yet; those that do are left as they are.

    Raises BrokerUnavailableError.
    """
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    try:
        await admin.start()
        response = await admin.create_topics(
            [
                NewTopic(
                    name=qualified(settings.namespace, topic.name),
                    num_partitions=topic.partitions or settings.kafka.partitions,
                    replication_factor=settings.kafka.replication_factor,
                    topic_configs=topic.broker_config(),
                )
                for topic in topics
            ]
        )
        for name, code, *message in response.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise BrokerUnavailableError(f"topic {name}: {for_code(code).__name__} {message}")
        await _until_known(admin, {qualified(settings.namespace, topic.name) for topic in topics})
    except KafkaError as error:
        raise BrokerUnavailableError(f"{settings.kafka.bootstrap}: {error}") from error
    finally:
        await admin.close()


async def _until_known(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Return when the broker tells of topics that its controller has created, which is a moment later.

    Or after some seconds: who may create a topic need not be allowed to see it.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KNOWN_SECONDS):
            while not names <= set(await admin.list_topics()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)


def make_producer(settings: Settings, **options: Any) -> AIOKafkaProducer:
    """A producer that waits for all replicas and neither loses nor doubles on retries."""
    defaults: dict[str, Any] = {"acks": "all", "enable_idempotence": True, "compression_type": "zstd"}
    return AIOKafkaProducer(**client_options(settings.kafka), **(defaults | options))


def make_consumer(settings: Settings, **options: Any) -> AIOKafkaConsumer:
    """A consumer that sees committed records only and commits nothing by itself."""
    defaults: dict[str, Any] = {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
    }
    return AIOKafkaConsumer(**client_options(settings.kafka), **(defaults | options))


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """The partitions of a topic, once the broker tells; raises BrokerUnavailableError after 30 s without."""
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        await consumer._client.force_metadata_update()
        numbers = consumer.partitions_for_topic(topic)
        if numbers:
            return [TopicPartition(topic, number) for number in sorted(numbers)]
        if asyncio.get_running_loop().time() > deadline:
            raise BrokerUnavailableError(f"topic {topic} does not exist")
        await asyncio.sleep(0.1)


async def caught_up(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    """Whether the consumer has passed `ends`. By position, not by last record: a log may end in markers."""
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True
