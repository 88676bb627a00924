"""What topics are at the broker now: their ids, partitions, settings and offsets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from services.runtime.kafka import BrokerUnavailableError, broker_unavailable
from services.runtime.librdkafka import librdkafka_options
from services.runtime.settings import Settings

#: How long the broker may take for an answer.
ANSWER_SECONDS = 15.0
#: How long a consumer group may have members that were killed.
LEAVING_SECONDS = 30.0
#: The id of a topic at brokers that give it none.
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
_NOT_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
_UNKNOWN = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is. ``config`` is None if the broker does not show it, for lack of rights."""

    topic_id: str  # "" if the broker gives it none
    partitions: int
    replicas: int
    config: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Topics of a cluster, by full name; those that do not exist are left out."""

    cluster_id: str  # "" if the broker does not tell it
    topics: Mapping[str, TopicState]


class GroupBusyError(BrokerUnavailableError):
    """A consumer group has members, so its offsets cannot be changed."""


class TopicAdmin:
    """Asks the broker about topics, over one connection. Every method raises BrokerUnavailableError."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected yet. Raises SettingsError."""
        self._address = settings.kafka.bootstrap
        self._client = AdminClient(
            librdkafka_options(settings.kafka)
            | {"enable.metrics.push": False, "reconnect.backoff.max.ms": 1000},
            logger=logging.getLogger("librdkafka"),
        )

    async def describe(self, names: Iterable[str], *, config: bool = True) -> ClusterState:
        """These topics as they are now; with ``config`` also their settings."""
        described = self._client.describe_topics(TopicCollection(list(names)), request_timeout=ANSWER_SECONDS)
        cluster = self._client.describe_cluster(request_timeout=ANSWER_SECONDS)
        found: dict[str, Any] = {}
        for name, future in described.items():
            try:
                found[name] = await asyncio.wrap_future(future)
            except KafkaException as error:
                if error.args[0].code() not in _UNKNOWN:
                    raise self._unavailable(error) from error
        settings = await self._configs(found) if config else {}
        return ClusterState(
            str((await self._answer(cluster)).cluster_id or ""),
            {
                name: TopicState(
                    topic_id="" if str(topic.topic_id) == _NO_ID else str(topic.topic_id),
                    partitions=len(topic.partitions),
                    replicas=min(len(each.replicas) for each in topic.partitions),
                    config=settings.get(name),
                )
                for name, topic in found.items()
                if topic.partitions
            },
        )

    async def _configs(self, names: Collection[str]) -> dict[str, dict[str, str]]:
        """Settings by topic; without those that the broker does not show."""
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        shown = {}
        for resource, future in self._client.describe_configs(
            resources, request_timeout=ANSWER_SECONDS
        ).items():
            try:
                entries = await asyncio.wrap_future(future)
            except KafkaException as error:
                if error.args[0].code() not in (*_UNKNOWN, KafkaError.TOPIC_AUTHORIZATION_FAILED):
                    raise self._unavailable(error) from error
            else:
                shown[resource.name] = {key: str(entry.value) for key, entry in entries.items()}
        return shown

    async def first_offsets(self, name: str, partitions: int) -> tuple[int, ...]:
        """The first offset that each partition has now."""
        return await self._offsets(name, range(partitions), OffsetSpec.earliest())

    async def end_offsets(self, name: str, partitions: Iterable[int]) -> tuple[int, ...]:
        """The offset after the last record of each of these partitions."""
        return await self._offsets(name, partitions, OffsetSpec.latest())

    async def _offsets(self, name: str, partitions: Iterable[int], spec: OffsetSpec) -> tuple[int, ...]:
        wanted = {TopicPartition(name, number): spec for number in partitions}
        if not wanted:
            return ()
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return await self._listed(wanted)
            except KafkaException as error:
                # The broker may not lead a partition yet that has just been created.
                if error.args[0].code() not in _NOT_YET or time.monotonic() > deadline:
                    raise self._unavailable(error) from error
            await asyncio.sleep(0.1)

    async def _listed(self, wanted: dict[TopicPartition, OffsetSpec]) -> tuple[int, ...]:
        futures = self._client.list_offsets(wanted, request_timeout=ANSWER_SECONDS)
        pending = {tp.partition: asyncio.wrap_future(future) for tp, future in futures.items()}
        await asyncio.gather(*pending.values(), return_exceptions=True)  # each is asked, or it is reported
        return tuple(pending[number].result().offset for number in sorted(pending))

    async def configure(self, name: str, config: Mapping[str, str]) -> None:
        """Give a topic these settings, and leave its others."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        for future in self._client.incremental_alter_configs(
            [resource], request_timeout=ANSWER_SECONDS
        ).values():
            await self._answer(future)

    async def delete_group(self, group: str) -> None:
        """Forget the offsets of a consumer group.

        A member that was killed is one for the length of its session, so this waits. Raises GroupBusyError.
        """
        deadline = time.monotonic() + LEAVING_SECONDS
        while True:
            [future] = self._client.delete_consumer_groups([group], request_timeout=ANSWER_SECONDS).values()
            try:
                await asyncio.wrap_future(future)
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.GROUP_ID_NOT_FOUND:
                    return
                if code != KafkaError.NON_EMPTY_GROUP:
                    raise self._unavailable(error) from error
                if time.monotonic() > deadline:
                    raise GroupBusyError(
                        f"the consumer group {group} has members; stop them first"
                    ) from error
                await asyncio.sleep(0.5)
            else:
                return

    async def _answer(self, future: Any) -> Any:
        try:
            return await asyncio.wrap_future(future)
        except KafkaException as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: KafkaException) -> BrokerUnavailableError:
        return broker_unavailable(self._address, error.args[0].str())
