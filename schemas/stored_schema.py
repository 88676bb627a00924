"""JSON Schemas of dead letters and their marks (engagement.rejected.v1), of known posts, and of the choice of
series (engagement.selection.v1).

Like totals they are written without models, for speed; the contract tests hold the writers to them.
"""

from __future__ import annotations

from typing import Any

from schemas.events import VERSION
from schemas.json_schema import DRAFT, event_schema
from schemas.reasons import Reason

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
    """What was refused, byte for byte, and why; by ingest, or by the aggregator for an entry of the log."""
    return {
        "$schema": DRAFT,
        "title": f"dead letter, version {VERSION}, as kept in engagement.rejected.v1",
        "description": "What was refused, byte for byte, and why.",
        "type": "object",
        "properties": {
            "id": {"type": "string", "minLength": 1, "description": "names the letter, e.g. to redrive it"},
            "v": {"const": VERSION, "description": "version of this contract"},
            "reason": {"enum": [reason.value for reason in Reason], "description": "see schemas.reasons"},
            "field": {"type": "string", "description": "dotted path; empty: the event as a whole"},
            "detail": {"type": "string", "description": "a sentence for people"},
            "source": {
                "type": "string",
                "minLength": 1,
                "description": "where it came from; `log` for an entry of engagement.events.v1",
            },
            "received_at": {
                "type": "integer",
                "minimum": 0,
                "description": "wall clock in epoch milliseconds",
            },
            "index": {
                "type": "integer",
                "minimum": -1,
                "description": "place in the request or record; -1: the body as a whole",
            },
            "bytes": {"type": "integer", "minimum": 0, "description": "size of what was refused"},
            "raw": {"type": "string", "description": "the bytes in base64, the first of them if truncated"},
            "raw_text": {"type": "string", "description": "the same as text, if it is short and UTF-8"},
            "truncated": {"type": "boolean", "description": "whether raw is only the beginning"},
            "partition": {"type": "integer", "minimum": 0, "description": "of the entry of the log"},
            "offset": {"type": "integer", "minimum": 0, "description": "of the entry of the log"},
        },
        "required": ["detail", "field", "id", "index", "raw", "reason", "received_at", "source"],
    }


def redriven_schema() -> Document:
    """The mark beside dead letters: the event of one was sent again, so it is not offered any more."""
    return {
        "$schema": DRAFT,
        "title": f"mark of a redriven dead letter, version {VERSION}, as kept in engagement.rejected.v1",
        "description": "The event of a dead letter was sent again. Refused again, it has a new letter.",
        "type": "object",
        "properties": {
            "redriven": {"type": "string", "minLength": 1, "description": "id of the letter"},
            "at": {"type": "integer", "minimum": 0, "description": "wall clock in epoch milliseconds"},
            "accepted": {"type": "boolean", "description": "whether ingest accepted it this time"},
        },
        "required": ["accepted", "at", "redriven"],
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
    """Who has Prometheus series of their own."""
    return _subjects_schema(
        "choice of series",
        "The accounts or hashtags with Prometheus series of their own on every worker, besides the tracked "
        "ones. A name is platform and account, or the hashtag.",
        [_NAME_PART],
    )


def candidates_schema() -> Document:
    """Among whom is chosen."""
    return _subjects_schema(
        "candidates of a partition",
        "The busiest accounts or hashtags of one partition, best first: the name, then two counts of events, "
        "all actions together: of the last 24 hours of event time, and since the stream began.",
        [_NAME_PART, {"type": "integer", "minimum": 0}],
    )


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
