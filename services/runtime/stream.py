"""The identity of the stream: founded with its topics, compared when a service starts and while it runs.

engagement.stream.v1 holds it (schemas.stream, docs/adr/0014).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Never

import msgspec
import structlog
from aiokafka.errors import KafkaError

from schemas.stream import TopicIdentity, decode_identity, encode_identity
from schemas.topics import EVENTS, STREAM, TOPICS, TOTALS, Topic, qualified
from services.runtime.kafka import (
    BrokerUnavailableError,
    broker_unavailable,
    create_topics,
    make_producer,
)
from services.runtime.readiness import LastSuccess
from services.runtime.settings import AggregateSettings, KafkaSettings, Settings
from services.runtime.stream_rules import IDENTIFIED, changes, surplus, wrong_settings
from services.runtime.topic_scan import TopicMissingError, read_topic
from services.runtime.topic_states import ClusterState, TopicAdmin

#: How long an assignment waits for the comparison.
ASSIGNMENT_SECONDS = 5.0
#: A check that the broker has not answered is made again so soon.
AGAIN_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class StreamError(RuntimeError):
    """The topics are not those that the stream was begun with, or would lose records.

    To go on would make figures wrong. The message is one line: what was found, and what to do.
    """


def too_large(settings: Settings, *topics: Topic) -> StreamError:
    """The error of a service that cannot go on since the broker rejects a record for its size."""
    names = " or ".join(qualified(settings.namespace, topic.name) for topic in topics)
    return StreamError(
        f"the broker takes no record of this size into {names}: its max.message.bytes is too small; "
        "run `fanpulse stream mend`, and start again"
    )


def broker_answers(kafka: KafkaSettings) -> LastSuccess:
    """Whether the broker has answered lately. It is asked once an interval, so that much is added."""
    return LastSuccess("the broker does not answer", kafka.ready_seconds + kafka.stream_check_seconds)


def least_retention_ms(aggregate: AggregateSettings) -> int:
    """How far back in stream time the dedup window may reach."""
    return (aggregate.dedup_segments + 1) * aggregate.dedup_segment_seconds * 1000


@dataclass(frozen=True)
class Stream:
    """The stream as a service uses it: the identities of the topics that the service uses, by name."""

    identities: Mapping[str, TopicIdentity]

    def partitions(self, topic: Topic = EVENTS) -> int:
        """Partitions of a topic that belong to the stream; keys are hashed by this number."""
        return self.identities[topic.name].partitions

    def first_offset(self, partition: int) -> int:
        """Offset at which the stream begins in a partition of the log."""
        return self.identities[EVENTS.name].first_offsets[partition]


async def open_stream(settings: Settings, topics: Collection[Topic] = TOPICS) -> Stream:
    """Create the missing topics, found the identity of new ones, and compare that of the others.

    Raises StreamError if a topic is not the one it was or has settings that would lose records, and
    BrokerUnavailableError.
    """
    used = [topic for topic in topics if topic is not STREAM]
    names = [qualified(settings.namespace, topic.name) for topic in (*used, STREAM)]
    recorded = await read_identities(settings)
    admin = TopicAdmin(settings)
    cluster = await admin.describe(names)
    known = {topic.name: recorded[topic.name] for topic in used if topic.name in recorded}
    require_unchanged(known, cluster, settings.namespace)
    if len(cluster.topics) < len(names):
        await create_topics(_as_begun(settings, recorded, cluster), (*used, STREAM))
        cluster = await _described(admin, names)
    wrong = wrong_settings(
        [*used, STREAM],
        cluster,
        settings.namespace,
        least_retention_ms=least_retention_ms(settings.aggregate),
    )
    if wrong:
        raise StreamError(wrong[0].line)
    new = {topic.name for topic in used if topic in IDENTIFIED} - known.keys()
    if new:
        founded = {name: await found(admin, cluster, settings.namespace, name) for name in sorted(new)}
        await write_identities(settings, founded)
        known |= founded
        _log.debug("stream_founded", topics=sorted(new), namespace=settings.namespace)
    _require_equal(known, settings.namespace)
    return Stream(known)


def _as_begun(settings: Settings, recorded: Mapping[str, TopicIdentity], cluster: ClusterState) -> Settings:
    """Settings by which the log and the totals are created with as many partitions as the other one has."""
    begun = [recorded[name].partitions for name in (EVENTS.name, TOTALS.name) if name in recorded]
    begun += [
        state.partitions
        for name in (EVENTS.name, TOTALS.name)
        if (state := cluster.topics.get(qualified(settings.namespace, name)))
    ]
    if not begun:
        return settings
    kafka = settings.kafka.model_copy(update={"partitions": begun[0]})
    return settings.model_copy(update={"kafka": kafka})


def require_unchanged(identities: Mapping[str, TopicIdentity], cluster: ClusterState, namespace: str) -> None:
    """Raises StreamError unless the topics are those that they were."""
    if changed := changes(identities, cluster, namespace):
        raise StreamError(changed[0].line)


async def _described(admin: TopicAdmin, names: Collection[str]) -> ClusterState:
    """The state of topics that have just been created; another broker may not know them at once."""
    deadline = time.monotonic() + 10
    while True:
        cluster = await admin.describe(names)
        if missing := [name for name in names if name not in cluster.topics]:
            if time.monotonic() > deadline:
                raise BrokerUnavailableError(f"topic {missing[0]} does not exist, though it was created")
            await asyncio.sleep(0.1)
        else:
            return cluster


def _require_equal(identities: Mapping[str, TopicIdentity], namespace: str) -> None:
    """The totals of a partition are in the partition of the same number."""
    if EVENTS.name in identities and TOTALS.name in identities:
        events, totals = identities[EVENTS.name].partitions, identities[TOTALS.name].partitions
        if events != totals:
            raise StreamError(
                f"{qualified(namespace, EVENTS.name)} was made with {events} partitions and "
                f"{qualified(namespace, TOTALS.name)} with {totals}, but each partition of the log needs "
                "its own of the totals; stop the services, delete the totals, run `fanpulse stream accept "
                "totals`, and start them again"
            )


async def found(admin: TopicAdmin, cluster: ClusterState, namespace: str, name: str) -> TopicIdentity:
    """The identity of a topic as it is now."""
    full = qualified(namespace, name)
    state = cluster.topics[full]
    return TopicIdentity(
        cluster_id=cluster.cluster_id,
        topic_id=state.topic_id,
        partitions=state.partitions,
        first_offsets=await admin.first_offsets(full, state.partitions),
        founded_at=time.time_ns() // 1_000_000,
    )


async def read_identities(settings: Settings) -> dict[str, TopicIdentity]:
    """The identities on record, by name of the topic; none if there is no engagement.stream.v1.

    Raises StreamError if one cannot be read, and BrokerUnavailableError.
    """
    topic = qualified(settings.namespace, STREAM.name)
    try:
        records = await read_topic(settings, topic)
    except TopicMissingError:
        return {}
    identities: dict[str, TopicIdentity] = {}
    for record in records:
        try:
            name = (record.key or b"").decode()
            if record.value is None:
                identities.pop(name, None)
            else:
                identities[name] = decode_identity(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StreamError(
                f"{topic} has a record at offset {record.offset} that is no identity ({error}); "
                "use the release that wrote it"
            ) from error
    return identities


async def write_identities(settings: Settings, identities: Mapping[str, TopicIdentity | None]) -> None:
    """Put identities on record; None removes one. Raises BrokerUnavailableError."""
    topic = qualified(settings.namespace, STREAM.name)
    producer = make_producer(settings)
    try:
        await producer.start()
        for name, identity in identities.items():
            value = None if identity is None else encode_identity(identity)
            await producer.send_and_wait(topic, value, key=name.encode(), partition=0)
    except KafkaError as error:
        raise broker_unavailable(settings.kafka.bootstrap, error) from error
    finally:
        await producer.stop()


class StreamCheck:
    """Compares the stream with its identity while a service runs.

    ``on_surplus`` gets, after each check, how many records there are in partitions that do not belong to the
    stream; somebody wrote them, and nobody counts them. ``on_wrong_settings`` gets how many topic settings
    would lose records: a service that runs goes on, but does not start again on these.

    ``broker`` has a fault while the broker does not answer: a condition of the service's readiness.
    """

    def __init__(
        self,
        settings: Settings,
        stream: Stream,
        on_surplus: Callable[[int], None] = lambda records: None,
        on_wrong_settings: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._on_surplus = on_surplus
        self._on_wrong_settings = on_wrong_settings
        self.broker = broker_answers(settings.kafka)
        self._wrong: set[str] = set()
        self._told = 0
        self._gone: set[str] = set()
        self._admin: TopicAdmin | None = None

    async def run(self) -> Never:
        """Check for ever. Raises StreamError once the stream is not what it was."""
        seconds = interval = self._settings.kafka.stream_check_seconds
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.check()
            except BrokerUnavailableError as error:
                self.broker.failed(str(error))
                seconds = min(AGAIN_SECONDS, interval)
            else:
                self.broker.succeeded()
                seconds = interval

    async def require_unchanged(self) -> None:
        """Compare before what is in the topics is relied upon; if the broker does not answer, go on.

        Raises StreamError.
        """
        with contextlib.suppress(BrokerUnavailableError, TimeoutError):
            async with asyncio.timeout(ASSIGNMENT_SECONDS):
                await self.check(certain=False)

    async def check(self, *, certain: bool = True) -> None:
        """Compare once. ``certain``: a topic is gone if two checks in a row do not find it, since a broker
        that starts may not know it yet. Raises StreamError and BrokerUnavailableError."""
        self._admin = self._admin or TopicAdmin(self._settings)
        namespace, identities = self._settings.namespace, self._stream.identities
        cluster = await self._admin.describe([qualified(namespace, name) for name in identities])
        changed = changes(identities, cluster, namespace)
        before, self._gone = self._gone, {each.topic for each in changed if each.gone}
        if changed := [each for each in changed if not each.gone or not certain or each.topic in before]:
            raise StreamError(changed[0].line)
        added = surplus(identities, cluster, namespace).get(EVENTS.name)
        if added:
            ends = await self._admin.end_offsets(qualified(namespace, EVENTS.name), added)
            self._tell(added, sum(ends))
        self._on_surplus(self._told)
        self._tell_settings(cluster)

    def _tell_settings(self, cluster: ClusterState) -> None:
        wrong = wrong_settings(
            [topic for topic in IDENTIFIED if topic.name in self._stream.identities],
            cluster,
            self._settings.namespace,
            least_retention_ms=least_retention_ms(self._settings.aggregate),
        )
        lines = {each.line for each in wrong}
        for line in sorted(lines - self._wrong):
            _log.error("topic_setting_would_lose_records", problem=line)
        self._wrong = lines
        self._on_wrong_settings(len(lines))

    def _tell(self, added: range, records: int) -> None:
        if records > self._told:
            _log.warning(
                "surplus_records",
                topic=qualified(self._settings.namespace, EVENTS.name),
                partitions=list(added),
                records=records,
                advice="these partitions were added later and do not belong to the stream, so nobody counts "
                "what is in them; send these events again through ingest",
            )
        self._told = records
