"""JSON Schemas of engagement.totals.v1: the key of each scope, and the value that belongs to it.

The aggregator builds these entries without models, for speed; what is written here is held to what it
really writes by the integration tests.
"""

from __future__ import annotations

from typing import Any, get_args

from schemas.dimensions import DIMENSIONS, Dimension
from schemas.events import ACTIONS, POST_ACTION, VERSION, Metric, Phase
from schemas.json_schema import DRAFT
from schemas.totals import BUCKET_ROWS, Checkpoint

Document = dict[str, Any]

_OFFSET: Document = {
    "type": "integer",
    "minimum": -1,
    "description": "source offset up to which (inclusive) the entry counts; -1 before the first record",
}
_COUNT: Document = {"type": "integer", "minimum": 0}
_TIME: Document = {"type": "integer", "minimum": 0, "description": "epoch milliseconds; 0 for never"}
_TEXT: Document = {"type": "string", "minLength": 1}
_ACTIONS: Document = {
    "type": "object",
    "description": "gross count of each action; withdrawals are actions of their own",
    "propertyNames": {"enum": [*ACTIONS, POST_ACTION]},
    "additionalProperties": _COUNT,
}
_COUNTED: Document = {"actions": _ACTIONS, "last_ms": _TIME}

_GAPS: Document = {
    "type": "array",
    "description": "records that were removed before they were counted, by offset; end is exclusive",
    "items": {
        "type": "object",
        "properties": {"begin": _COUNT, "end": _COUNT, "noticed_at": _TIME},
        "required": ["begin", "end", "noticed_at"],
    },
}

#: How a cumulative figure came where it is; absent in entries of a release that did not follow it.
_COUNTER_HISTORY: Document = {
    "first": {**_COUNT, "description": "the baseline; value == first + gained - lost + reset_by"},
    "gained": {**_COUNT, "description": "sum of all rises"},
    "lost": {**_COUNT, "description": "sum of all falls and corrections"},
    "falls": {**_COUNT, "description": "falls of what people can take back"},
    "downward_adjustments": {**_COUNT, "description": "falls of what nobody can take back: the platform's"},
    "resets": {**_COUNT, "description": "jumps to another count, and back from one"},
    "reset_by": {"type": "integer", "description": "sum of these jumps: neither gained nor lost"},
    "late": {**_COUNT, "description": "readings left out: older than the newest one"},
    "before_reset": {**_COUNT, "description": "the figure before the reset that was the last change"},
    "since": {
        **_COUNT,
        "description": "source offset of the baseline, where an older release had counted before it",
    },
}

#: What entries of a dimension have besides counts: its fields, and those that may be absent.
_MORE: dict[str, tuple[Document, set[str]]] = {
    "post": ({"account": _TEXT}, set()),
    "broadcast": (
        {
            "account": _TEXT,
            "phases": {
                "type": "object",
                "propertyNames": {"enum": list(get_args(Phase))},
                "additionalProperties": _TIME,
            },
            "title": _TEXT,
        },
        {"account", "phases", "title"},
    ),
}


def _counted(dimension: Dimension) -> tuple[list[Document], Document, set[str], str]:
    more, optional = _MORE.get(dimension.scope, ({}, set()))
    return [_TEXT for _ in dimension.keys], {**_COUNTED, **more}, optional, dimension.meaning


#: scope -> (what follows it in the key, fields of the value, those that may be absent, what it is)
_SCOPES: dict[str, tuple[list[Document], Document, set[str], str]] = {
    **{dimension.scope: _counted(dimension) for dimension in DIMENSIONS},
    "reading": (
        [_TEXT, _TEXT, {"enum": list(get_args(Metric))}],
        {"value": _COUNT, "at_ms": _TIME, **_COUNTER_HISTORY},
        set(_COUNTER_HISTORY),
        "the newest cumulative figure: platform, subject (schemas.events.subject_of), metric",
    ),
    "minute": (
        [_TEXT, _TIME],
        {"actions": _ACTIONS, "closed": {"type": "boolean"}},
        set(),
        "a minute of a live broadcast: broadcast_id, its first millisecond",
    ),
    "bucket": (
        [{"type": "integer", "minimum": 1}, _TIME, {"type": "integer", "minimum": 0}],
        {
            "rows": {
                "type": "array",
                "maxItems": BUCKET_ROWS,
                "items": {
                    "type": "array",
                    "minItems": 4,
                    "maxItems": 2 + max(len(each.keys) + 1 for each in DIMENSIONS if each.windowed),
                    "items": {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]},
                },
                "description": "[scope, ...names, action, count], of dimensions with rolling counts; where "
                "the last name is empty, a sum over all subjects of the scope",
            }
        },
        set(),
        "a part of a bucket of event time: width_ms, its first millisecond, number of the part",
    ),
    "checkpoint": (
        [],
        {
            name: _COUNT
            for name in Checkpoint.__struct_fields__
            if name not in ("offset", "stream_time_ms", "gaps")
        }
        | {"stream_time_ms": _TIME, "gaps": _GAPS},
        {"segment_ms", "gaps", "forgotten_ids", "voided"},
        "how far the partition has been counted, and what was seen on the way (schemas.totals.Checkpoint)",
    ),
}

SCOPES: tuple[str, ...] = tuple(_SCOPES)


def key_schema() -> Document:
    """The record key: a JSON array whose first member is the scope."""
    return {
        "oneOf": [
            {
                "type": "array",
                "items": [{"const": scope}, *rest],
                "minItems": 1 + len(rest),
                "maxItems": 1 + len(rest),
                "description": meaning,
            }
            for scope, (rest, _, _, meaning) in _SCOPES.items()
        ]
    }


def totals_schema(scope: str) -> Document:
    """The record value of a scope. A null value (tombstone) removes the entry."""
    _, fields, optional, meaning = _SCOPES[scope]
    return {
        "$schema": DRAFT,
        "title": f"totals of scope {scope}, version {VERSION}, as kept in engagement.totals.v1",
        "description": f"What the events of one source partition add up to for {meaning}.",
        "type": "object",
        "properties": {"offset": _OFFSET, **fields},
        "required": sorted({"offset", *fields} - optional),
    }
