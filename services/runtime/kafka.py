"""Kafka clients for every service, made from the settings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from schemas.topics import TOPICS, Topic, qualified
from services.runtime.settings import KafkaSettings, Settings, SettingsError
from services.runtime.tls import ssl_context

#: How long a created topic may take to appear in the broker's metadata.
_KNOWN_SECONDS = 5.0


#: What a reason for a failed connection points to, by a part of its text.
_ADVICE = {
    "uthentication": "check kafka.sasl_mechanism, kafka.sasl_username and kafka.sasl_password",
    "ertificate": "check kafka.ssl_cafile, and that the certificate is for this address",
    "Connect call failed": "is the broker running, and is kafka.bootstrap its address?",
    "losed": "check kafka.security_protocol: the broker ended the connection",
}


class BrokerUnavailableError(RuntimeError):
    """The broker cannot be reached, or denies access."""


class _LastTrouble(logging.Filter):
    """Remembers why a connection failed: aiokafka only logs it, and raises that there is no broker."""

    reason = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if str(record.msg).startswith("Unable connect to"):
            self.reason = str(record.args[-1]) if isinstance(record.args, tuple) and record.args else ""
        return True


_last_trouble = _LastTrouble()
logging.getLogger("aiokafka").addFilter(_last_trouble)


def broker_unavailable(address: str | None, error: BaseException | str) -> BrokerUnavailableError:
    """The error of a client that failed: the address, why, and what to check. One line."""
    reason = str(error)
    if isinstance(error, KafkaConnectionError) and _last_trouble.reason:
        reason = _last_trouble.reason
    advice = next((advice for part, advice in _ADVICE.items() if part in reason), "")
    return BrokerUnavailableError(f"{address}: {reason}{f'; {advice}' if advice else ''}")


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """The connection options of every aiokafka client.

    Raises SettingsError if no broker is set, or a user, a password or a TLS file that it needs.
    """
    if kafka.bootstrap is None:
        raise SettingsError(
            "kafka.bootstrap is not set and no local stack is running; start one with `fanpulse up`, "
            "or set FANPULSE_KAFKA_BOOTSTRAP"
        )
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        for key in ("sasl_username", "sasl_password"):
            if getattr(kafka, key) is None:
                raise SettingsError(
                    f"kafka.security_protocol is {kafka.security_protocol}, and kafka.{key} is not set; set "
                    f"FANPULSE_KAFKA_{key.upper()}"
                )
        password = kafka.sasl_password.get_secret_value() if kafka.sasl_password else None
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": password,
        }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(kafka)
    return options


async def create_topics(settings: Settings, topics: Collection[Topic] = TOPICS) -> None:
    """Create the missing topics of the namespace, and leave existing ones as they are.

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
        raise broker_unavailable(settings.kafka.bootstrap, error) from error
    finally:
        await admin.close()


async def _until_known(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Wait until the broker lists topics that its controller has created, which takes a moment.

    Gives up after some seconds: a user who may create a topic may not be allowed to see it.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KNOWN_SECONDS):
            while not names <= set(await admin.list_topics()):  # noqa: ASYNC110 - there is not an event for it
                await asyncio.sleep(0.05)


def make_producer(settings: Settings, **options: Any) -> AIOKafkaProducer:
    """A producer that waits for all replicas; its retries neither lose nor duplicate records."""
    defaults: dict[str, Any] = {"acks": "all", "enable_idempotence": True, "compression_type": "zstd"}
    return AIOKafkaProducer(**client_options(settings.kafka), **(defaults | options))


def make_consumer(settings: Settings, **options: Any) -> AIOKafkaConsumer:
    """A consumer that only sees committed records and never commits by itself."""
    defaults: dict[str, Any] = {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
    }
    return AIOKafkaConsumer(**client_options(settings.kafka), **(defaults | options))


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """The partitions of a topic. Raises BrokerUnavailableError if the broker has not listed it after 30 s."""
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
    """Whether the consumer's positions have reached `ends`. The last record would not do: a log may end in
    transaction markers."""
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True
