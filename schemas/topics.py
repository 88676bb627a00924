"""The topics as data: their contents, keys and retention, their writers and readers."""

from __future__ import annotations

from dataclasses import dataclass, field

DAY_MS = 86_400_000
#: The most bytes that any service writes in one batch, and so in one record.
BATCH_BYTES = 1_000_000
#: What a topic must take: compression may add a little to a batch. And what it takes by default.
LEAST_MESSAGE_BYTES, DEFAULT_MESSAGE_BYTES = 1_010_000, 1_048_588


#: A record has the broker's time. In the log it is a witness against the clocks of other machines; and the
#: broker would reject records whose sender's time is an hour ahead of its own.
_BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic. If ``partitions`` is None, the setting ``kafka.partitions`` decides."""

    name: str
    holds: str
    key: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    partitions: int | None = 1
    retention_ms: int = -1
    compacted: bool = False
    config: dict[str, str] = field(default_factory=dict)

    def broker_config(self) -> dict[str, str]:
        """The topic's configuration at the broker."""
        kept = {"cleanup.policy": "compact"} if self.compacted else {"cleanup.policy": "delete"}
        return {**kept, "retention.ms": str(self.retention_ms), **_BROKER_TIME, **self.config}


#: A starting service also reads what is not yet compacted, so the broker must compact soon.
_COMPACT_SOON = {
    "segment.ms": "600000",
    "segment.bytes": str(64 * 2**20),
    "max.compaction.lag.ms": "900000",
    "min.cleanable.dirty.ratio": "0.3",
    "delete.retention.ms": "86400000",
}

#: For records that are replaced every second: with small segments a starting worker reads less.
_REPLACED_EACH_SECOND = {
    **_COMPACT_SOON,
    "segment.ms": "120000",
    "segment.bytes": str(4 * 2**20),
    "max.compaction.lag.ms": "180000",
}

EVENTS = Topic(
    name="engagement.events.v1",
    holds="accepted events and clock records, as JSON arrays (or single objects)",
    key="none; partition by crc32: of event_id, of a reading's subject, of a broadcast's id",
    producers=("ingest",),
    consumers=("aggregate", "audit"),
    partitions=None,
)
REJECTED = Topic(
    name="engagement.rejected.v1",
    holds="dead letters: raw bytes, reason, source and time of what was rejected; redrive markers",
    key="none",
    producers=("ingest", "aggregate", "dead-letters"),
    consumers=("dead-letters",),
    retention_ms=90 * DAY_MS,
)
POSTS = Topic(
    name="engagement.posts.v1",
    holds="what is known of each post (account, format, language, hashtags, campaign, broadcast)",
    key='["platform","post_id"]',
    producers=("ingest",),
    consumers=("ingest",),
    compacted=True,
    config=_COMPACT_SOON,
)
TOTALS = Topic(
    name="engagement.totals.v1",
    holds="partials: partition p holds what the events of source partition p add up to (schemas.totals)",
    key='["scope", ...]',
    producers=("aggregate",),
    consumers=("aggregate", "alerts", "audit", "totals", "watch"),
    partitions=None,
    compacted=True,
    config=_REPLACED_EACH_SECOND,
)
ALERTS = Topic(
    name="engagement.alerts.v1",
    holds="milestones and spikes, each once under its id (schemas.alerts)",
    key="alert id",
    producers=("alerts",),
    consumers=("alerts", "audit", "watch"),
    compacted=True,
    config=_COMPACT_SOON,
)

SELECTION = Topic(
    name="engagement.selection.v1",
    holds="which accounts and hashtags have Prometheus series of their own (schemas.selection)",
    key='["candidates", scope, partition] or ["selected", scope]',
    producers=("aggregate",),
    consumers=("aggregate",),
    compacted=True,
    config=_REPLACED_EACH_SECOND,
)

STREAM = Topic(
    name="engagement.stream.v1",
    holds="what each topic of the stream is: its id, its partitions, where it begins (schemas.stream)",
    key="name of the topic, without the namespace",
    producers=("ingest", "aggregate", "alerts", "stream"),
    consumers=("ingest", "aggregate", "alerts", "audit", "stream"),
    compacted=True,
    config=_COMPACT_SOON,
)

TOPICS: tuple[Topic, ...] = (EVENTS, REJECTED, POSTS, TOTALS, ALERTS, SELECTION, STREAM)


def qualified(namespace: str, name: str) -> str:
    """The name of a topic, group or transactional id in a namespace."""
    return f"{namespace}.{name}" if namespace else name
