"""What makes a stream the same stream, and which settings its topics need. Decisions only: no broker.

Every line that a function here returns names the topic, what was found, and what you can do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from schemas.stream import TopicIdentity
from schemas.topics import (
    ALERTS,
    DEFAULT_MESSAGE_BYTES,
    EVENTS,
    LEAST_MESSAGE_BYTES,
    POSTS,
    TOTALS,
    Topic,
    qualified,
)
from services.runtime.topic_states import ClusterState, TopicState

#: Topics with an identity: if one is created again, something that cannot be found elsewhere is lost.
IDENTIFIED: tuple[Topic, ...] = (EVENTS, TOTALS, ALERTS, POSTS)
_BY_NAME = {topic.name: topic for topic in IDENTIFIED}
#: What `fanpulse stream accept` calls them.
SHORT_NAMES = {TOTALS.name: "totals", ALERTS.name: "alerts", POSTS.name: "posts"}

_NEW_STREAM = "begin a new stream: set FANPULSE_NAMESPACE to a new name"
_WHAT_TO_DO = {
    EVENTS.name: "the events counted so far are not in it; restore the topic from a backup, or "
    + _NEW_STREAM,
    TOTALS.name: "the totals are lost with it; stop the aggregator and run `fanpulse stream accept totals`, "
    "and the whole log is counted again",
    ALERTS.name: "what has been decided is lost with it; run `fanpulse stream accept alerts` to go on, and "
    "every milestone that was reached is told once more",
    POSTS.name: "what is known of posts is lost with it, and interactions would miss their hashtags; run "
    "`fanpulse stream accept posts` to go on, and send the posts again",
}


@dataclass(frozen=True, slots=True)
class Changed:
    """A topic that is not the one it was. ``gone``: it does not exist now."""

    topic: str
    line: str
    gone: bool = False


def changes(identities: Mapping[str, TopicIdentity], cluster: ClusterState, namespace: str) -> list[Changed]:
    """The topics, of those with an identity in ``identities``, that are not the ones they were.

    Partitions that were added make no other topic (``surplus``). What the broker does not tell is not
    compared.
    """
    found = []
    for name, identity in identities.items():
        full, now = qualified(namespace, name), cluster.topics.get(qualified(namespace, name))
        if _differ(identity.cluster_id, cluster.cluster_id):
            line = (
                f"{full} is a copy from another cluster: the stream was begun on cluster "
                f"{identity.cluster_id}, and this is {cluster.cluster_id}; set kafka.bootstrap to that "
                f"cluster, or {_NEW_STREAM}"
            )
            found.append(Changed(name, line))
        elif now is None:
            found.append(Changed(name, f"{full} was deleted: {_WHAT_TO_DO[name]}", gone=True))
        elif _differ(identity.topic_id, now.topic_id) or now.partitions < identity.partitions:
            line = (
                f"{full} was deleted and created again (its id was {identity.topic_id}, and is "
                f"{now.topic_id}): "
                f"{_WHAT_TO_DO[name]}"
            )
            found.append(Changed(name, line))
    return found


def _differ(recorded: str, found: str) -> bool:
    return bool(recorded and found and recorded != found)


def surplus(
    identities: Mapping[str, TopicIdentity], cluster: ClusterState, namespace: str
) -> dict[str, range]:
    """Partitions that were added to a topic after the stream began, by name; they do not belong to it."""
    return {
        name: range(identity.partitions, now.partitions)
        for name, identity in identities.items()
        if (now := cluster.topics.get(qualified(namespace, name))) and now.partitions > identity.partitions
    }


@dataclass(frozen=True, slots=True)
class WrongSetting:
    """A setting of a topic that would lose records, or reject them."""

    topic: str  # full name
    key: str
    found: str
    wanted: str
    why: str

    @property
    def line(self) -> str:
        return (
            f"{self.topic} has {self.key}={self.found}, and needs {self.wanted}: {self.why}; "
            "`fanpulse stream mend` sets it"
        )


def wrong_settings(
    topics: Iterable[Topic], cluster: ClusterState, namespace: str, *, least_retention_ms: int
) -> list[WrongSetting]:
    """Settings with which the broker would remove what is still needed, or take no records.

    ``least_retention_ms``: how far back the log is read when an aggregator starts.
    """
    found = []
    for topic in topics:
        full = qualified(namespace, topic.name)
        state = cluster.topics.get(full)
        if state is not None and state.config is not None:
            found += list(_wrong(topic, full, state, state.config, least_retention_ms))
    return found


def _wrong(
    topic: Topic, full: str, state: TopicState, config: Mapping[str, str], least_retention_ms: int
) -> Iterator[WrongSetting]:
    policy, wanted = config.get("cleanup.policy"), "compact" if topic.compacted else "delete"
    if policy is not None and policy != wanted:
        why = (
            "the broker would remove entries that are the only ones of their kind"
            if topic.compacted
            else "the broker would remove records, or reject them for want of a key"
        )
        yield WrongSetting(full, "cleanup.policy", policy, wanted, why)
    elif topic.name == EVENTS.name:
        yield from _wrong_log(full, config, least_retention_ms)
    clock = config.get("message.timestamp.type")
    if clock not in (None, "LogAppendTime"):
        why = (
            "a machine whose clock is ahead could take stream time with it"
            if topic.name == EVENTS.name
            else "the broker would reject records of a machine whose clock is an hour ahead"
        )
        yield WrongSetting(full, "message.timestamp.type", clock, "LogAppendTime", why)
    size = config.get("max.message.bytes")
    if size is not None and int(size) < LEAST_MESSAGE_BYTES:
        why = "the broker would reject records (unless the topic has a value, it is the broker's)"
        yield WrongSetting(full, "max.message.bytes", size, str(DEFAULT_MESSAGE_BYTES), why)
    in_sync = config.get("min.insync.replicas")
    if in_sync is not None and in_sync.isdigit() and int(in_sync) > state.replicas:
        why = f"each partition has {state.replicas} replicas, so the broker takes no records"
        yield WrongSetting(full, "min.insync.replicas", in_sync, str(state.replicas), why)


def _wrong_log(full: str, config: Mapping[str, str], least_retention_ms: int) -> Iterator[WrongSetting]:
    milliseconds, size = config.get("retention.ms", "-1"), config.get("retention.bytes", "-1")
    if milliseconds != "-1" and int(milliseconds) < least_retention_ms:
        why = (
            f"duplicates are found among the ids of the last {least_retention_ms // 3_600_000:,} hours, so "
            "the log must still have these"
        )
        yield WrongSetting(full, "retention.ms", milliseconds, "-1", why)
    if size != "-1":
        why = "the broker would remove events that may not have been counted yet"
        yield WrongSetting(full, "retention.bytes", size, "-1", why)


def limited_retention_ms(cluster: ClusterState, namespace: str) -> int | None:
    """How long the log is kept; None if for ever. An audit cannot reach back further."""
    state = cluster.topics.get(qualified(namespace, EVENTS.name))
    found = (state.config or {}).get("retention.ms", "-1") if state else "-1"
    return None if found == "-1" else int(found)
