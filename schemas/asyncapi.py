"""One AsyncAPI 3 document of all topics: their records and retention, their writers and readers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.events import VERSION
from schemas.selection import SCOPES as SELECTION_SCOPES
from schemas.topics import ALERTS, EVENTS, POSTS, REJECTED, SELECTION, STREAM, TOPICS, TOTALS, Topic
from schemas.totals_schema import SCOPES, key_schema

Document = dict[str, Any]

_KAFKA_BINDING = "0.5.0"
LOG_KINDS = ("interaction", "post", "reading", "broadcast", "clock", "void")


def asyncapi_document() -> Document:
    """The document. Its payloads refer to the JSON Schemas that schemas.export writes next to it."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "fanpulse",
            "version": f"{VERSION}.0.0",
            "description": (
                "The topics of fanpulse. Records are UTF-8 JSON. Readers ignore unknown fields, and treat an "
                "absent field like null. With a namespace set, the names of topics, groups and transactional "
                "ids begin with it and a dot."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "the broker that FANPULSE_KAFKA_BOOTSTRAP names, or the embedded one",
                "variables": {"bootstrap": {"default": "localhost:9092", "description": "host:port"}},
            }
        },
        "channels": {_identifier(topic): _channel(topic) for topic in TOPICS},
        "operations": dict(_operations()),
        "components": {"messages": _messages()},
    }


def schema_file(view: str, kind: str) -> str:
    """The path of a kind's schema, relative to the document."""
    return f"json/{view}/{kind}.v{VERSION}.json"


def _identifier(topic: Topic) -> str:
    """`events` for engagement.events.v1: an identifier of AsyncAPI has no dots."""
    return topic.name.split(".")[1]


def _channel(topic: Topic) -> Document:
    partitions = {"partitions": topic.partitions} if topic.partitions else {}
    as_setting = "" if topic.partitions else " The setting kafka.partitions is the number of partitions."
    return {
        "address": topic.name,
        "title": topic.holds,
        "description": f"Key: {topic.key}.{as_setting}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _MESSAGES_OF[topic.name]},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                **partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compacted else "delete"],
                    "retention.ms": topic.retention_ms,
                },
                "bindingVersion": _KAFKA_BINDING,
            }
        },
    }


def _operations() -> Iterator[tuple[str, Document]]:
    for topic in TOPICS:
        channel = {"$ref": f"#/channels/{_identifier(topic)}"}
        for application in topic.producers:
            yield (
                f"{application}-writes-{_identifier(topic)}",
                {"action": "send", "channel": channel, "title": f"{application} writes {topic.name}"},
            )
        for application in topic.consumers:
            yield (
                f"{application}-reads-{_identifier(topic)}",
                {"action": "receive", "channel": channel, "title": f"{application} reads {topic.name}"},
            )


_MESSAGES_OF: dict[str, list[str]] = {
    EVENTS.name: ["entries"],
    REJECTED.name: ["dead-letter", "redriven"],
    POSTS.name: ["known-post"],
    TOTALS.name: [f"total-{scope}" for scope in SCOPES],
    ALERTS.name: ["milestone", "retraction", "spike"],
    SELECTION.name: ["candidates", "selected"],
    STREAM.name: ["identity"],
}


def _messages() -> Document:
    text = {"type": "string"}
    post_key = {"type": "array", "items": [text, text], "minItems": 2, "maxItems": 2}
    messages = {
        "entries": _entries(),
        "dead-letter": _message("dead letter", "rejected", "dead_letter"),
        "redriven": _message("redrive marker of a dead letter", "rejected", "redriven"),
        "known-post": _message("known post", "posts", "known_post", post_key),
    }
    for scope, key in zip(SCOPES, key_schema()["oneOf"], strict=True):
        messages[f"total-{scope}"] = _message(f"total of scope {scope}", "totals", scope, key)
    messages |= _selection_messages()
    messages["identity"] = _message("identity of a topic", "stream", "identity", text)
    for kind in ("milestone", "retraction", "spike"):
        messages[kind] = _message(kind, "alert", kind, text)
    return messages


def _selection_messages() -> Document:
    scope: Document = {"enum": list(SELECTION_SCOPES)}
    partition: Document = {"type": "integer", "minimum": 0}
    kinds: dict[str, list[Document]] = {"candidates": [scope, partition], "selected": [scope]}
    keys = {
        kind: {
            "type": "array",
            "items": [{"const": kind}, *rest],
            "minItems": 1 + len(rest),
            "maxItems": 1 + len(rest),
        }
        for kind, rest in kinds.items()
    }
    return {
        "candidates": _message("candidates of a partition", "selection", "candidates", keys["candidates"]),
        "selected": _message("selected series", "selection", "selected", keys["selected"]),
    }


def _entries() -> Document:
    """A record of the events topic: an array of entries, or one entry."""
    one_of = {"oneOf": [{"$ref": schema_file("log", kind)} for kind in LOG_KINDS]}
    return {
        "name": "entries",
        "title": "entries of the log",
        "summary": "Events, clock records and voids of one partition, in order. An event's address is "
        "(partition, offset, index in the array).",
        "payload": {"oneOf": [{"type": "array", "minItems": 1, "items": one_of}, one_of]},
    }


def _message(title: str, view: str, kind: str, key: Document | None = None) -> Document:
    bindings = {"bindings": {"kafka": {"key": key, "bindingVersion": _KAFKA_BINDING}}} if key else {}
    return {"name": kind, "title": title, "payload": {"$ref": schema_file(view, kind)}, **bindings}
