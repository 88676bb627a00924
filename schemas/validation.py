"""Validates one event, slowly: pydantic decides, and every rejection gets a reason and a field.

``validate`` is the authority; ``schemas.codec`` calls it for every event that its fast decoder does not
accept.
"""

from __future__ import annotations

import json
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from schemas.events import MODELS, VERSION
from schemas.problems import meant, words
from schemas.reasons import Reason, Rejection
from schemas.structs import Event, from_model

MAX_DEPTH = 16
_MAX_FIELD = 200
_MAX_DETAIL = 300
#: An integer with more digits is out of every range; to parse all of it would only cost time.
_MAX_DIGITS = 100

_REASONS: dict[str, Reason] = {
    "missing": Reason.MISSING_FIELD,
    "extra_forbidden": Reason.UNKNOWN_FIELD,
    "string_type": Reason.WRONG_TYPE,
    "int_type": Reason.WRONG_TYPE,
    "bool_type": Reason.WRONG_TYPE,
    "tuple_type": Reason.WRONG_TYPE,
    "model_type": Reason.WRONG_TYPE,
    "model_attributes_type": Reason.WRONG_TYPE,
    "literal_error": Reason.BAD_VALUE,
    "greater_than_equal": Reason.OUT_OF_RANGE,
    "less_than_equal": Reason.OUT_OF_RANGE,
    "string_too_short": Reason.TOO_SHORT,
    "string_too_long": Reason.TOO_LONG,
    "too_long": Reason.TOO_LONG,
    "string_unicode": Reason.NOT_UTF8,
}  # fmt: skip


class _Object(dict[str, Any]):
    """A JSON object with its first repeated key."""

    repeated: str | None = None


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        found.repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _integer(digits: str) -> int:
    return int(digits[:_MAX_DIGITS])


PARSE = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer)


def validate(raw: bytes) -> Event | Rejection:
    """The event in normal form, or why it is rejected. No value of `raw` raises an error."""
    try:
        value = PARSE.decode(raw.decode())
    except UnicodeDecodeError as error:
        return rejection("", Reason.NOT_UTF8, f"byte {error.start} is not UTF-8")
    except RecursionError:
        return too_deep()
    except json.JSONDecodeError as error:
        return rejection("", Reason.NOT_JSON, _advice(error))
    except ValueError as error:
        return rejection("", Reason.NOT_JSON, str(error))
    return _problem(value, (), 0) or _validate(value)


def _advice(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data" and error.doc[error.pos] in "{[":
        return (
            f"a second value begins at character {error.pos}: put events into an array, [{{...}},{{...}}], "
            "or on lines of their own"
        )
    return str(error)


def rejection(field: str, reason: Reason, detail: str) -> Rejection:
    """A rejection whose texts can be shown: of bounded length, and without lone surrogates."""
    return Rejection(_shown(field, _MAX_FIELD), reason, _shown(detail, _MAX_DETAIL))


def too_deep() -> Rejection:
    """The rejection of an event that is nested too deep."""
    return rejection("", Reason.TOO_DEEP, f"nested more than {MAX_DEPTH} deep")


def _shown(text: str, limit: int) -> str:
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def _problem(value: Any, path: tuple[str | int, ...], depth: int) -> Rejection | None:
    """A problem that pydantic does not see: repeated keys, lone surrogates, depth."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            return rejection(
                _dotted(path), Reason.NOT_UTF8, "has a lone surrogate, which no UTF-8 text can hold"
            )
        return None
    if not isinstance(value, dict | list):
        return None
    if depth >= MAX_DEPTH:
        return too_deep()
    if isinstance(value, _Object) and value.repeated is not None:
        return rejection(_dotted((*path, value.repeated)), Reason.REPEATED_KEY, "the key occurs twice")
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in inner:
        if isinstance(key, str) and (problem := _problem(key, (*path, key), depth)):
            return problem
        if problem := _problem(member, (*path, key), depth + 1):
            return problem
    return None


def _validate(value: Any) -> Event | Rejection:
    if not isinstance(value, dict):
        return rejection("", Reason.NOT_AN_OBJECT, "an event is a JSON object")
    version = value.get("v", VERSION)
    if type(version) is not int:
        return rejection("v", Reason.WRONG_TYPE, "the version is a number")
    if version != VERSION:
        return rejection("v", Reason.UNSUPPORTED_VERSION, f"this service reads version {VERSION}")
    if "kind" not in value:
        return rejection("kind", Reason.MISSING_FIELD, f"one of {', '.join(MODELS)}")
    kind = value["kind"]
    if not isinstance(kind, str):
        return rejection("kind", Reason.WRONG_TYPE, "the kind is a text")
    model = MODELS.get(kind)
    if model is None:
        return rejection("kind", Reason.UNKNOWN_KIND, f"{kind!r} is none of {', '.join(MODELS)}")
    try:
        return from_model(model.model_validate(value))
    except ValidationError as error:
        return _translate(model, error)


def _translate(model: type[BaseModel], error: ValidationError) -> Rejection:
    """The first error of pydantic as a rejection."""
    first = error.errors(include_url=False)[0]
    reason = _REASONS.get(first["type"])
    if reason is None:
        reason = Reason(first["type"])  # one of ours, from schemas.fields
    elif reason is Reason.BAD_VALUE and not isinstance(first["input"], str):
        reason = Reason.WRONG_TYPE
    return rejection(_dotted(_field_path(model, first["loc"])), reason, _detail(model, dict(first)))


def _detail(model: type[BaseModel], problem: dict[str, Any]) -> str:
    if problem["type"] != "extra_forbidden":
        return words(problem)
    *path, name = problem["loc"]
    level: type[BaseModel] | None = model
    for part in path:
        level = _nested(level, part) if level else None
    return f"{words(problem)}{meant(name, level.model_fields) if level else ''}"


def _field_path(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The part of pydantic's location that names fields, without members of unions."""
    path: list[str | int] = []
    level: type[BaseModel] | None = model
    for part in loc:
        if level is None and not isinstance(part, int):
            break
        path.append(part)
        if level is not None:
            level = _nested(level, part)
    return tuple(path)


def _nested(model: type[BaseModel], name: str | int) -> type[BaseModel] | None:
    field = model.model_fields.get(str(name))
    for arg in (field.annotation, *get_args(field.annotation)) if field else ():
        if isinstance(arg, type) and issubclass(arg, BaseModel):
            return arg
    return None


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))
