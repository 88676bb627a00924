"""JSON Schemas of dead letters and redrive markers (engagement.rejected.v1), of known posts, of selected
series (engagement.selection.v1), and of the identity of topics (engagement.stream.v1).

The first two and the last are generated from the structs that write them. The others, like totals, are
written without models, for speed; the contract tests hold the writers to the schemas.
"""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.dead_letter import DeadLetter, RedriveMarker
from schemas.events import VERSION
from schemas.json_schema import DRAFT, event_schema
from schemas.stream import TopicIdentity

Document = dict[str, Any]

_POST_FIELDS = (
    "platform",
    "post_id",
    "account",
    "format",
    "language",
    "hashtags",
    "campaign",
    "broadcast_id",
)


def dead_letter_schema() -> Document:
    """What was rejected, byte for byte, and why; by ingest, or by the aggregator for an entry of the log."""
    return _struct_schema("dead letter", DeadLetter, "What was rejected, byte for byte, and why.")


def redriven_schema() -> Document:
    """The redrive marker beside a dead letter: its event was sent again, so it is no longer offered."""
    return _struct_schema(
        "redrive marker",
        RedriveMarker,
        "The event of a dead letter was sent again. If it was rejected again, it has a new dead letter.",
    )


def _struct_schema(title: str, struct: type[msgspec.Struct], description: str) -> Document:
    """The JSON Schema of a struct of schemas.dead_letter."""
    schema = msgspec.json.schema(struct)["$defs"][struct.__name__]
    properties = {
        name: {keyword: value for keyword, value in member.items() if keyword != "contentEncoding"}
        for name, member in schema["properties"].items()
    }
    return {
        "$schema": DRAFT,
        "title": f"{title}, version {VERSION}, as kept in engagement.rejected.v1",
        "description": description,
        "type": "object",
        "properties": properties,
        "required": schema["required"],
    }


def known_post_schema() -> Document:
    """What ingest knows of a post, to complete the interactions with it."""
    fields = event_schema("post", "log")["properties"]
    return {
        "$schema": DRAFT,
        "title": f"known post, version {VERSION}, as kept in engagement.posts.v1",
        "description": "What ingest knows of a post, to complete the interactions with it.",
        "type": "object",
        "properties": {name: fields[name] for name in _POST_FIELDS},
        "required": ["platform", "post_id"],
    }


def selected_schema() -> Document:
    """The accounts or hashtags that have Prometheus series of their own."""
    return _subjects_schema(
        "selected series",
        "The accounts or hashtags with Prometheus series of their own on every worker, besides the tracked "
        "ones. A name is platform and account, or the hashtag.",
        [_NAME_PART],
    )


def candidates_schema() -> Document:
    """The accounts or hashtags of one partition among which the selection is made."""
    return _subjects_schema(
        "candidates of a partition",
        "The busiest accounts or hashtags of one partition, best first: the name, then two counts of events, "
        "all actions together: of the last 24 hours of event time, and since the stream began.",
        [_NAME_PART, {"type": "integer", "minimum": 0}],
    )


def identity_schema() -> Document:
    """What a topic was when the stream began."""
    schema = msgspec.json.schema(TopicIdentity)["$defs"]["TopicIdentity"]
    return {
        "$schema": DRAFT,
        "title": f"identity of a topic, version {VERSION}, as kept in engagement.stream.v1",
        "description": "What a topic was when the stream began. It is another topic if it has another id.",
        "type": "object",
        "properties": schema["properties"],
        "required": schema["required"],
    }


_NAME_PART: Document = {"type": "string", "minLength": 1}


def _subjects_schema(title: str, description: str, members: list[Document]) -> Document:
    return {
        "$schema": DRAFT,
        "title": f"{title}, version {VERSION}, as kept in engagement.selection.v1",
        "description": description,
        "type": "object",
        "properties": {
            "subjects": {
                "type": "array",
                "items": {"type": "array", "minItems": 1, "maxItems": 4, "items": {"anyOf": members}},
            }
        },
        "required": ["subjects"],
    }
