"""Checks that the broker answers and that its topics are as fanpulse needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from fanpulse.devstack.checks.finding import Finding, fail, ok, warn
from fanpulse.devstack.kafka import takes_requests
from schemas.topics import TOPICS, Topic, qualified
from services.runtime.kafka import client_options
from services.runtime.settings import Settings

TIMEOUT_SECONDS = 15
_RETENTION = "offsets.retention.minutes"
LITTLE_RETENTION_MINUTES = 365 * 24 * 60


async def broker(settings: Settings) -> list[Finding]:
    """Findings about the broker that the settings name, or one finding that no broker is set."""
    address = settings.kafka.bootstrap
    if address is None:
        advice = "`fanpulse up --detach` starts one; FANPULSE_KAFKA_BOOTSTRAP names one that you have"
        return [warn("broker", "no broker is set and no stack is up", advice)]
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            if not await takes_requests(settings.kafka):
                return [_unreachable(address, "no answer")]
            return await _inspect(settings, address)
    except (KafkaError, OSError) as error:
        return [_unreachable(address, str(error) or type(error).__name__)]


def _unreachable(address: str, reason: str) -> Finding:
    advice = (
        "check that it runs and can be reached from here; with TLS or SASL also "
        "FANPULSE_KAFKA_SECURITY_PROTOCOL and the kafka.ssl_… and kafka.sasl_… settings"
    )
    return fail("broker", f"{address}: {reason}", advice)


async def _inspect(settings: Settings, address: str) -> list[Finding]:
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    try:
        cluster = await admin.describe_cluster()
        names = [qualified(settings.namespace, topic.name) for topic in TOPICS]
        described = {each["topic"]: each for each in await admin.describe_topics(names)}
        existing = [name for name in names if described[name]["error_code"] == 0]
        node = str(cluster["brokers"][0]["node_id"])
        node_config = await _config(admin, ConfigResourceType.BROKER, node, _RETENTION)
        policies = {
            name: (await _config(admin, ConfigResourceType.TOPIC, name, "cleanup.policy")).get(
                "cleanup.policy"
            )
            for name in existing
        }
    finally:
        await admin.close()
    nodes = len(cluster["brokers"])
    return [
        ok("broker", f"{address} answers, {nodes} node{'s' if nodes > 1 else ''}"),
        *retention(node_config),
        *topics(settings, {name: len(described[name]["partitions"]) for name in existing}, policies),
    ]


async def _config(
    admin: AIOKafkaAdminClient, kind: ConfigResourceType, name: str, key: str
) -> dict[str, str | None]:
    """The value of one key; empty if the broker does not show it, for lack of rights."""
    answers: list[Any] = await admin.describe_configs([ConfigResource(kind, name, {key: None})])
    return {
        entry[0]: entry[1]
        for answer in answers
        for code, _, _, _, entries in answer.resources
        if code == 0
        for entry in entries
    }


def retention(config: dict[str, str | None]) -> Iterator[Finding]:
    """How long the broker keeps the offsets of a group without members."""
    minutes = config.get(_RETENTION)
    if minutes is None:
        return
    days = int(minutes) / 1440
    if int(minutes) < LITTLE_RETENTION_MINUTES:
        yield warn(
            "offsets",
            f"kept for {days:.0f} days after the aggregator stops",
            "an aggregator that is down for longer loses its offsets and cannot resume; set the broker's "
            f"{_RETENTION} to a year or more",
        )
    else:
        yield ok("offsets", f"kept for {days / 365:,.0f} years after the aggregator stops")


def topics(
    settings: Settings, partitions: dict[str, int], policies: dict[str, str | None]
) -> Iterator[Finding]:
    """Compare the broker's topics, by full name, with `schemas.topics`."""
    missing = [topic for topic in TOPICS if qualified(settings.namespace, topic.name) not in partitions]
    if missing:
        names = ", ".join(qualified(settings.namespace, topic.name) for topic in missing)
        advice = "`fanpulse up` creates them; if they should exist, check FANPULSE_NAMESPACE"
        yield warn("topics", f"missing: {names}", advice)
    existing = [topic for topic in TOPICS if topic not in missing]
    wrong = [finding for topic in existing for finding in _wrong(settings, topic, partitions, policies)]
    yield from wrong
    if existing and not wrong:
        yield ok("topics", f"{len(existing)} of {len(TOPICS)} exist, with the right partitions")


def _wrong(
    settings: Settings, topic: Topic, partitions: dict[str, int], policies: dict[str, str | None]
) -> Iterator[Finding]:
    name = qualified(settings.namespace, topic.name)
    wanted = topic.partitions or settings.kafka.partitions
    if partitions[name] != wanted:
        advice = (
            f"set FANPULSE_KAFKA_PARTITIONS={partitions[name]}, if events and totals both have as many"
            if topic.partitions is None
            else f"delete it and create it with {wanted}"
        )
        yield fail("topics", f"{name} has {partitions[name]} partitions, not {wanted}", advice)
    policy = policies.get(name)
    needed = "compact" if topic.compacted else "delete"
    if policy is not None and policy != needed:
        advice = f"set cleanup.policy={needed} on the topic, or its records will be lost"
        yield fail("topics", f"{name} has cleanup.policy={policy}", advice)
