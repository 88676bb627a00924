"""engagement.stream.v1: what the topics of the stream are, so that a topic that was created again is noticed.

One record for each topic whose records are the stream or its state. Its key is the name of the topic without
the namespace; the value is a ``TopicIdentity``. Whoever first makes or finds the topic writes it, and then it
stays: the broker gives a topic that is deleted and created again another id. The topic is compacted.
"""

from __future__ import annotations

import msgspec


class TopicIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic was when the stream began.

    ``partitions`` is the number that keys are hashed by, for good: partitions that are added to the topic
    later do not belong to the stream. An id is "" if the broker does not tell it.
    """

    cluster_id: str
    topic_id: str
    partitions: int
    first_offsets: tuple[int, ...]  # of each partition: the offset at which the stream begins
    founded_at: int  # epoch milliseconds


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(TopicIdentity).decode


def encode_identity(identity: TopicIdentity) -> bytes:
    """The value of a record."""
    return _encode(identity)


def decode_identity(data: bytes) -> TopicIdentity:
    """The identity in a record. Raises msgspec.DecodeError if there is none."""
    return _decode(data)
