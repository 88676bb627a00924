"""Checks that the broker answers and that its topics are as fanpulse needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from fanpulse.devstack.checks.finding import Finding, fail, ok, warn
from fanpulse.devstack.kafka import takes_requests
from schemas.stream import TopicIdentity
from schemas.topics import DAY_MS, EVENTS, TOPICS, Topic, qualified
from services.runtime.kafka import BrokerUnavailableError, client_options
from services.runtime.settings import Settings
from services.runtime.stream import least_retention_ms, read_identities
from services.runtime.stream_rules import changes, limited_retention_ms, wrong_settings
from services.runtime.topic_states import ClusterState, TopicAdmin

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
    except (KafkaError, OSError, BrokerUnavailableError) as error:
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
        nodes = (await admin.describe_cluster())["brokers"]
        node_config = await _config(admin, ConfigResourceType.BROKER, str(nodes[0]["node_id"]), _RETENTION)
    finally:
        await admin.close()
    names = [qualified(settings.namespace, topic.name) for topic in TOPICS]
    cluster = await TopicAdmin(settings).describe(names)
    return [
        ok("broker", f"{address} answers, {len(nodes)} node{'s' if len(nodes) > 1 else ''}"),
        *retention(node_config),
        *topics(settings, cluster, await read_identities(settings)),
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
    settings: Settings, cluster: ClusterState, identities: Mapping[str, TopicIdentity]
) -> Iterator[Finding]:
    """Compare the broker's topics with `schemas.topics`, and with those that the stream was begun with."""
    namespace = settings.namespace
    missing = [topic for topic in TOPICS if qualified(namespace, topic.name) not in cluster.topics]
    if missing:
        names = ", ".join(qualified(namespace, topic.name) for topic in missing)
        advice = "`fanpulse up` creates them; if they should exist, check FANPULSE_NAMESPACE"
        yield warn("topics", f"missing: {names}", advice)
    wrong = [fail("topics", *_halves(each.line)) for each in changes(identities, cluster, namespace)]
    for topic in TOPICS:
        if topic not in missing:
            state = cluster.topics[qualified(namespace, topic.name)]
            wrong += _partitions(settings, topic, state.partitions, identities.get(topic.name))
    kept_ms = least_retention_ms(settings.aggregate)
    for each in wrong_settings(TOPICS, cluster, namespace, least_retention_ms=kept_ms):
        advice = f"{each.why}; `fanpulse stream mend` sets {each.wanted}"
        wrong.append(fail("topics", f"{each.topic} has {each.key}={each.found}", advice))
    limit = limited_retention_ms(cluster, namespace)
    if limit is not None and limit >= kept_ms:
        seen = f"{qualified(namespace, EVENTS.name)} keeps events for {limit / DAY_MS:,.0f} days only"
        wrong.append(warn("topics", seen, "an audit cannot recount what is older; set retention.ms=-1 on it"))
    yield from wrong
    if len(missing) < len(TOPICS) and not wrong:
        yield ok("topics", f"{len(TOPICS) - len(missing)} of {len(TOPICS)} exist, with the right partitions")


def _halves(line: str) -> tuple[str, str]:
    """What is wrong, and the rest."""
    seen, _, advice = line.partition(": ")
    return seen, advice


def _partitions(
    settings: Settings, topic: Topic, found: int, identity: TopicIdentity | None
) -> Iterator[Finding]:
    name = qualified(settings.namespace, topic.name)
    if identity is not None:
        if found > identity.partitions:
            yield warn(
                "topics",
                f"{name} has {found} partitions; the stream began with {identity.partitions}",
                "nobody writes to the others, and nobody counts what others wrote to them",
            )
        return
    wanted = topic.partitions or settings.kafka.partitions
    if found != wanted:
        advice = (
            f"set FANPULSE_KAFKA_PARTITIONS={found}, if events and totals both have as many"
            if topic.partitions is None
            else f"delete it and create it with {wanted}"
        )
        yield fail("topics", f"{name} has {found} partitions, not {wanted}", advice)
