"""When a stream is the one it was, and which settings of its topics lose records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.stream import TopicIdentity, decode_identity, encode_identity
from schemas.topics import ALERTS, EVENTS, POSTS, REJECTED, SELECTION, STREAM, TOPICS, TOTALS, Topic
from services.runtime.stream_rules import (
    IDENTIFIED,
    SHORT_NAMES,
    changes,
    limited_retention_ms,
    surplus,
    wrong_settings,
)
from services.runtime.topic_states import ClusterState, TopicState

WEEKS_MS = 21 * 86_400_000
RIGHT = ClusterState(
    "cluster-1",
    {f"ns.{each.name}": TopicState(f"id of {each.name}", 4, 3, each.broker_config()) for each in TOPICS},
)
BEGAN = {
    each.name: TopicIdentity(
        cluster_id="cluster-1",
        topic_id=f"id of {each.name}",
        partitions=4,
        first_offsets=(0, 0, 0, 0),
        founded_at=1_782_120_600_000,
    )
    for each in IDENTIFIED
}


def with_topic(topic: Topic, **changed: object) -> ClusterState:
    """The right cluster, apart from one topic."""
    name = f"ns.{topic.name}"
    state = replace(RIGHT.topics[name], **changed)  # type: ignore[arg-type]
    return replace(RIGHT, topics={**RIGHT.topics, name: state})


def test_an_identity_comes_back_as_it_was_stored() -> None:
    """What is written to engagement.stream.v1 is what is read."""
    for identity in BEGAN.values():
        assert decode_identity(encode_identity(identity)) == identity


def test_a_stream_that_is_what_it_was_has_not_changed() -> None:
    """The same ids and partitions: nothing to say."""
    assert changes(BEGAN, RIGHT, "ns") == []
    assert surplus(BEGAN, RIGHT, "ns") == {}


@pytest.mark.parametrize("topic", IDENTIFIED, ids=lambda topic: topic.name)
def test_a_topic_that_was_created_again_is_named_with_what_to_do(topic: Topic) -> None:
    """Another id, fewer partitions, or gone: one line names the topic and a way on."""
    way_on = (
        f"fanpulse stream accept {SHORT_NAMES[topic.name]}"
        if topic.name in SHORT_NAMES
        else "FANPULSE_NAMESPACE"
    )
    without = {name: state for name, state in RIGHT.topics.items() if name != f"ns.{topic.name}"}
    for cluster, gone in (
        (with_topic(topic, topic_id="another"), False),
        (with_topic(topic, partitions=3), False),
        (replace(RIGHT, topics=without), True),
    ):
        [found] = changes(BEGAN, cluster, "ns")
        assert (found.topic, found.gone) == (topic.name, gone)
        assert f"ns.{topic.name} was deleted" in found.line
        assert way_on in found.line
        assert "\n" not in found.line


def test_a_copy_on_another_cluster_is_not_the_stream() -> None:
    """The records of a mirrored engagement.stream.v1 say where the stream is."""
    found = changes(BEGAN, replace(RIGHT, cluster_id="cluster-2"), "ns")
    assert len(found) == len(BEGAN)
    assert "cluster-1" in found[0].line
    assert "cluster-2" in found[0].line
    assert "kafka.bootstrap" in found[0].line


def test_what_the_broker_does_not_tell_is_not_compared() -> None:
    """A broker without ids of topics, or that does not say which cluster it belongs to, changes nothing."""
    silent = ClusterState("", {name: replace(state, topic_id="") for name, state in RIGHT.topics.items()})
    assert changes(BEGAN, silent, "ns") == []


def test_partitions_that_were_added_do_not_belong_to_the_stream() -> None:
    """Grown from 4 to 8: the same topic, with four partitions too many."""
    grown = with_topic(EVENTS, partitions=8)
    assert changes(BEGAN, grown, "ns") == []
    assert surplus(BEGAN, grown, "ns") == {EVENTS.name: range(4, 8)}


def wrong(cluster: ClusterState) -> list[tuple[str, str, str, str]]:
    found = wrong_settings(TOPICS, cluster, "ns", least_retention_ms=WEEKS_MS)
    for each in found:
        assert each.line.startswith(f"{each.topic} has {each.key}={each.found}, and needs {each.wanted}: ")
        assert "fanpulse stream mend" in each.line
    return [(each.topic.removeprefix("ns."), each.key, each.found, each.wanted) for each in found]


def test_topics_as_we_create_them_are_right() -> None:
    """So are those whose settings the broker does not show."""
    assert wrong(RIGHT) == []
    assert wrong(with_topic(TOTALS, config=None)) == []


@pytest.mark.parametrize("topic", [TOTALS, ALERTS, POSTS, SELECTION, STREAM], ids=lambda topic: topic.name)
@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_state_that_would_be_removed_is_rejected(topic: Topic, policy: str) -> None:
    """A compacted topic holds the only entry of each key: retention must not remove it."""
    cluster = with_topic(topic, config={"cleanup.policy": policy, "retention.ms": "604800000"})
    assert wrong(cluster) == [(topic.name, "cleanup.policy", policy, "compact")]


@pytest.mark.parametrize("topic", [EVENTS, REJECTED], ids=lambda topic: topic.name)
def test_a_log_that_would_be_compacted_is_rejected(topic: Topic) -> None:
    """Its records have no keys."""
    assert wrong(with_topic(topic, config={"cleanup.policy": "compact"})) == [
        (topic.name, "cleanup.policy", "compact", "delete")
    ]


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"retention.ms": str(WEEKS_MS - 1)}, "retention.ms"),
        ({"retention.bytes": "1000000000"}, "retention.bytes"),
    ],
)
def test_a_log_that_forgets_too_soon_is_rejected(config: dict[str, str], key: str) -> None:
    """It must reach back as far as the dedup window, and a limit in bytes may reach anywhere."""
    found = wrong(with_topic(EVENTS, config={"cleanup.policy": "delete", **config}))
    assert found == [(EVENTS.name, key, config[key], "-1")]


def test_a_log_with_the_time_of_senders_is_rejected() -> None:
    """The broker's time of a record is the witness against wrong clocks."""
    config = {"cleanup.policy": "delete", "message.timestamp.type": "CreateTime"}
    assert wrong(with_topic(EVENTS, config=config)) == [
        (EVENTS.name, "message.timestamp.type", "CreateTime", "LogAppendTime")
    ]


def test_a_log_that_is_kept_long_enough_is_right_and_limits_the_audit() -> None:
    """A retention beyond the dedup window loses no count; an audit reaches back no further."""
    cluster = with_topic(EVENTS, config={"cleanup.policy": "delete", "retention.ms": str(WEEKS_MS)})
    assert wrong(cluster) == []
    assert limited_retention_ms(cluster, "ns") == WEEKS_MS
    assert limited_retention_ms(RIGHT, "ns") is None


def test_more_replicas_asked_for_than_there_are_is_rejected() -> None:
    """The broker would take no records."""
    cluster = with_topic(TOTALS, config={"cleanup.policy": "compact", "min.insync.replicas": "4"})
    assert wrong(cluster) == [(TOTALS.name, "min.insync.replicas", "4", "3")]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_needs_the_brokers_time(topic: Topic) -> None:
    """Records carry the sender's clock; an hour ahead the broker would reject them, in every topic."""
    config = {**topic.broker_config(), "message.timestamp.type": "CreateTime"}
    cluster = with_topic(topic, config=config)
    assert wrong(cluster) == [(topic.name, "message.timestamp.type", "CreateTime", "LogAppendTime")]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_must_take_a_whole_batch(topic: Topic) -> None:
    """Whether it is the topic's setting or the broker's; Kafka's default is enough."""
    for size, found in (
        ("300", [(topic.name, "max.message.bytes", "300", "1048588")]),
        ("1000000", [(topic.name, "max.message.bytes", "1000000", "1048588")]),
        ("1048588", []),
    ):
        cluster = with_topic(topic, config={**topic.broker_config(), "max.message.bytes": size})
        assert wrong(cluster) == found
