"""The fields of each kind of event, as a table of columns needs them: dotted path, shape, required or not.

Derived from the models of ``schemas.events``, so a field added there can be loaded at once.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from schemas.events import MODELS

#: Fields that say what a row is, and not what is in it; `v` is ours to fill.
_NOT_COLUMNS = frozenset({"kind", "v"})


class FieldType(Enum):
    """How the text of a cell becomes the value of a field."""

    TEXT = "text"
    ID = "id"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TIME = "time"
    HASHTAGS = "hashtags"


@dataclass(frozen=True)
class Field:
    """A field of an event. ``path`` is dotted (``actor.id``); ``check`` is pydantic's own rule for it."""

    path: str
    field_type: FieldType
    required: bool
    check: TypeAdapter[Any]


@cache
def fields_of(kind: str) -> Mapping[str, Field]:
    """The loadable fields of a kind, by dotted path."""
    return {field.path: field for field in _walk(MODELS[kind], "", True) if field.path not in _NOT_COLUMNS}


@cache
def all_fields() -> Mapping[str, Field]:
    """The loadable fields of all kinds; a path means the same in each."""
    return {path: field for kind in MODELS for path, field in fields_of(kind).items()}


def closest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant: spelt alike, or with the same end (``country``: actor.country)."""
    known = list(names)
    folded = {known_name.casefold(): known_name for known_name in known}
    wanted = name.strip().casefold().replace("-", "_").replace(" ", "_")
    if wanted in folded:
        return folded[wanted]
    for candidate in known:
        if candidate.split(".")[-1] == wanted or candidate.replace(".", "_") == wanted:
            return candidate
    near = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def _walk(model: type[BaseModel], prefix: str, required: bool) -> Iterable[Field]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        plain = _plain(info.annotation)
        needed = required and info.is_required()
        if isinstance(plain, type) and issubclass(plain, BaseModel):
            yield from _walk(plain, f"{path}.", needed)
        else:
            yield Field(path, _field_type(path, plain), needed, _check(info))


def _check(info: FieldInfo) -> TypeAdapter[Any]:
    annotation: Any = info.annotation
    for mark in info.metadata:
        annotation = Annotated[annotation, mark]
    return TypeAdapter(annotation)


def _plain(annotation: Any) -> Any:
    """The annotation without its marks, and without the None of an optional field."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [_plain(member) for member in get_args(annotation) if member is not type(None)]
        return members[0] if len(members) == 1 else tuple(members)
    return annotation


def _field_type(path: str, plain: Any) -> FieldType:
    if plain == (int, str):
        return FieldType.TIME
    if plain is bool:
        return FieldType.BOOLEAN
    if plain is int:
        return FieldType.INTEGER
    if get_origin(plain) is tuple:
        return FieldType.HASHTAGS
    if plain is str:
        return FieldType.ID if path.endswith("id") else FieldType.TEXT
    if get_origin(plain) is Literal:
        return FieldType.TEXT
    raise TypeError(f"{path}: a column cannot hold {plain}")
