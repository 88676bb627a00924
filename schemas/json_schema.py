"""JSON Schemas (draft 7) derived from the models, one per kind and version.

Each event has two views: ``submission`` is what a client may send, ``log`` is what engagement.events.v1 holds
after ingest has normalised it (integer times, canonical hashtags, no nulls, no unknown fields). A schema says
what JSON Schema can express. The models say more (Unicode normal forms, real calendar days), so ingest
rejects every document that the schema rejects, and some more.

Draft 7 is the newest draft that AsyncAPI 3 tools read; nothing newer is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from schemas import fields
from schemas.alerts import Milestone, Retraction, Spike
from schemas.events import MODELS, VERSION, Clock, Void
from schemas.hashtags import MAX_LENGTH

DRAFT = "http://json-schema.org/draft-07/schema#"

Document = dict[str, Any]
View = Literal["submission", "log"]

_NO_EDGE_SPACE = r"^\S(.*\S)?$"
_NO_CONTROLS = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_INTEGER_TIME: Document = {
    "type": "integer",
    "minimum": fields.EARLIEST_MS,
    "maximum": fields.LATEST_MS - 1,
}

#: What each normaliser of schemas.fields requires (submission) and guarantees (log).
_DEMANDS: dict[View, dict[Callable[..., Any], Document]] = {
    "submission": {
        fields.parse_time: {
            "anyOf": [
                {"type": "string", "format": "date-time", "pattern": f"^{fields._RFC3339.pattern}$"},
                _INTEGER_TIME,
            ]
        },
        fields.clean_text: {"pattern": _NO_EDGE_SPACE},
        fields.clean_account: {"pattern": _NO_EDGE_SPACE},
        fields.clean_name: {"pattern": _NO_CONTROLS},
        fields.clean_platform: {"pattern": r"^[A-Za-z0-9._-]+$"},
        fields.clean_country: {"pattern": r"^[A-Za-z]{2}$"},
        fields.clean_language: {"pattern": r"^[A-Za-z0-9-]+$"},
    },
    "log": {
        fields.parse_time: _INTEGER_TIME,
        fields.clean_text: {"pattern": _NO_EDGE_SPACE},
        fields.clean_account: {"pattern": _NO_EDGE_SPACE},
        fields.clean_name: {"pattern": _NO_CONTROLS},
        fields.clean_platform: {"pattern": r"^[a-z0-9._-]+$"},
        fields.clean_country: {"pattern": r"^[A-Z]{2}$"},
        fields.clean_language: {"pattern": r"^[a-z0-9-]+$"},
        fields.clean_hashtags: {
            "uniqueItems": True,
            "items": {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "pattern": r"^[^#＃﹟\s]+$"},
        },
    },
}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, extended by what the normalisers of schemas.fields require."""

    view: View

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_after_schema(schema)
        demand = _DEMANDS[self.view].get(schema["function"]["function"])
        if demand is None:
            return inner
        return demand if "anyOf" in inner else inner | demand

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # a title "Event Id" adds nothing to event_id


class _SubmissionGenerator(_Generator):
    view: View = "submission"


class _LogGenerator(_Generator):
    view: View = "log"


def event_schema(kind: str, view: View) -> Document:
    """The schema of one kind of event. Kinds ``clock`` and ``void`` exist in the log only."""
    models: dict[str, type[BaseModel]] = {**MODELS, "clock": Clock, "void": Void}
    model = models[kind]
    document = _document(model, _LogGenerator if view == "log" else _SubmissionGenerator)
    if view == "log":
        document = _without_nulls(document)
        document["required"] = sorted({"v", *document["required"]})
    return _titled(
        document,
        f"{kind}, version {VERSION}, as {'kept in' if view == 'log' else 'sent to'} "
        f"{'engagement.events.v1' if view == 'log' else 'ingest'}",
    )


def alert_schema(kind: str) -> Document:
    """The schema of ``milestone``, ``retraction`` or ``spike`` as kept in engagement.alerts.v1."""
    models: dict[str, type[BaseModel]] = {"milestone": Milestone, "retraction": Retraction, "spike": Spike}
    document = _document(models[kind], _LogGenerator)
    document["required"] = sorted({"v", "kind", *document["required"]})
    return _titled(document, f"{kind}, version {VERSION}, as kept in engagement.alerts.v1")


def _document(model: type[BaseModel], generator: type[GenerateJsonSchema]) -> Document:
    document = model.model_json_schema(schema_generator=generator)
    definitions = document.pop("$defs", {})
    inlined = _rewrite(
        document, lambda node: definitions[node["$ref"].split("/")[-1]] if "$ref" in node else node
    )
    changed: Document = _rewrite(inlined, _without_null_default)
    return changed


def _rewrite(node: Any, change: Callable[[Document], Document]) -> Any:
    """A copy of a schema with `change` applied to every object, outer ones first."""
    if isinstance(node, list):
        return [_rewrite(member, change) for member in node]
    if not isinstance(node, dict):
        return node
    return {key: _rewrite(value, change) for key, value in change(node).items()}


def _without_null_default(node: Document) -> Document:
    """Absent and null mean the same, so `default: null` at every optional field adds nothing."""
    return {key: value for key, value in node.items() if not (key == "default" and value is None)}


def _without_nulls(document: Document) -> Document:
    """The log omits an optional field where a client may also send null."""

    def change(node: Document) -> Document:
        kept = [option for option in node.get("anyOf", []) if option != {"type": "null"}]
        if len(kept) != 1:
            return node
        return {**{key: value for key, value in node.items() if key != "anyOf"}, **kept[0]}

    changed: Document = _rewrite(document, change)
    return changed


def _titled(document: Document, title: str) -> Document:
    return {"$schema": DRAFT, **document, "title": title}
