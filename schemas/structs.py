"""The events as msgspec structs, derived from the pydantic models of ``schemas.events``.

The models are the contract; this module repeats nothing about any field. Each model gets a struct with the
same fields and limits, which decodes many times as fast. The rules that a limit cannot express (the
``AfterValidator`` functions of ``schemas.fields``: normal forms, times, hashtags) are the struct's method
``normalise``.

A field that the sender omitted is ``UNSET`` (which is falsy). After ``normalise`` a field that is null or has
its default value is ``UNSET`` too, so an encoded struct omits it. ``v`` is always encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import msgspec
from annotated_types import Ge, Le, MaxLen, MinLen
from msgspec import UNSET, UnsetType
from pydantic import AfterValidator, BaseModel, Strict
from pydantic.fields import FieldInfo

from schemas import fields
from schemas.events import MODELS

#: An event in memory: one of the structs below. mypy cannot analyse a class that is made at import time.
Event: TypeAlias = Any
Clean: TypeAlias = Callable[[Any], Any]

_LIMITS = {MinLen: "min_length", MaxLen: "max_length", Ge: "ge", Le: "le"}
_SCALARS = (str, int, bool, NoneType)
#: Most values of a field repeat (accounts, campaigns, posts). A cache holds so many per normaliser.
_CACHED = 16_384


class Remembered(dict[Any, Any]):
    """The normal forms of recent values: ``cache[value]`` is ``clean(value)``, or raises like it."""

    __slots__ = ("_clean", "_most")

    def __init__(self, clean: Clean, most: int = _CACHED) -> None:
        self._clean = clean
        self._most = most
        self._reset()

    def _reset(self) -> None:
        self.clear()
        self[None] = UNSET  # null in an optional field means that it is absent

    def __missing__(self, value: Any) -> Any:
        cleaned = self._clean(value)
        if len(self) > self._most:
            self._reset()
        self[value] = cleaned
        return cleaned


def quick_name(value: str | None) -> Any:
    """``fields.clean_name``, with a fast path for plain ASCII."""
    if value is None:
        return UNSET
    return value if value.isascii() and value.isprintable() else fields.clean_name(value)


class QuickTime:
    """``fields.parse_time``, computed from cached parts: the minute, the second, and the rest.

    The parts can be added, since a fraction or an offset means the same in every minute.
    """

    _BASE = "2000-01-02T00:00:00"  # a day after the earliest time, so that every offset is in range

    def __init__(self) -> None:
        base = fields.parse_time(f"{self._BASE}Z")
        self._minutes = Remembered(lambda text: fields.parse_time(f"{text}00Z"))
        self._seconds = {f"{second:02}": second * 1000 for second in range(60)}
        self._rests = Remembered(lambda text: fields.parse_time(f"{self._BASE}{text}") - base)

    def __call__(self, value: int | str) -> int:
        moment = value
        if isinstance(moment, str):
            try:
                moment = self._minutes[moment[:17]] + self._seconds[moment[17:19]] + self._rests[moment[19:]]
            except (KeyError, ValueError):
                return fields.parse_time(value)  # handles leap seconds, and raises errors
        if fields.EARLIEST_MS <= moment < fields.LATEST_MS:
            return moment
        return fields.parse_time(value)


#: Normalisers that are called for each value, since nearly every value is new. All others are cached.
_CALLED: dict[str, Clean] = {"event_id": fields.clean_text, "id": fields.clean_text, "name": quick_name}
_QUICK: dict[Clean, Clean] = {fields.parse_time: QuickTime()}
#: Inline tests for values that are already in normal form, since a call takes longer.
_NORMAL: dict[Clean, str] = {
    fields.clean_text: "value.isascii() and value.isprintable() and value.strip() is value",
    fields.parse_time: f"type(value) is int and {fields.EARLIEST_MS} <= value < {fields.LATEST_MS}",
}
_CACHES: dict[Clean, Remembered] = {}


def _hint(field: FieldInfo) -> Any:
    """The field's type as written in the model, including its limits."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _struct_type(hint: Any) -> Any:
    """The msgspec form of a type. Raises TypeError if none is as strict."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = {}
        for note in args[1:]:
            if type(note) in _LIMITS:
                limits[_LIMITS[type(note)]] = getattr(note, _LIMITS[type(note)])
            elif not isinstance(note, AfterValidator | Strict):
                raise TypeError(f"no msgspec form of {note!r}")
        inner = _struct_type(args[0])
        return Annotated[inner, msgspec.Meta(**limits)] if limits else inner
    if origin in (Union, UnionType):
        return Union[tuple(_struct_type(arg) for arg in args)]  # noqa: UP007 - made from a tuple
    if origin is tuple and args[1:] == (Ellipsis,):
        return tuple[_struct_type(args[0]), ...]  # type: ignore[misc]
    if origin is Literal or hint in _SCALARS:
        return hint
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return derive(hint)
    raise TypeError(f"no msgspec form of {hint!r}")


def _normaliser(hint: Any) -> Clean | None:
    """The one ``AfterValidator`` of a type, or of the member of an optional type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found: list[Any] = [note.func for note in args[1:] if isinstance(note, AfterValidator)]
        assert len(found) <= 1, hint
        return found[0] if found else _normaliser(args[0])
    if origin in (Union, UnionType):
        return next((clean for arg in args if (clean := _normaliser(arg))), None)
    return None


def _is_nested(hint: Any) -> bool:
    return any(isinstance(arg, type) and issubclass(arg, BaseModel) for arg in (hint, *get_args(hint)))


def _steps(model: type[BaseModel], scope: dict[str, Any]) -> Iterator[str]:
    """The source lines of ``normalise``. Puts the objects that they name into `scope`."""
    for name, field in model.model_fields.items():
        hint = _hint(field)
        clean = _normaliser(hint)
        optional = not field.is_required()
        if name == "kind":
            continue
        if name == "v":
            yield f"self.v = {field.default!r}"
            continue
        if _is_nested(hint) or clean or optional:
            yield f"value = self.{name}"
        if _is_nested(hint):
            yield "if value: value.normalise()"
            yield f"elif value is None: self.{name} = UNSET"
        elif clean:
            guard = "value is not UNSET and " if optional else ""
            scope[name] = (
                _CALLED.get(name) or _QUICK.get(clean) or _CACHES.setdefault(clean, Remembered(clean))
            )
            if isinstance(scope[name], Remembered):
                # Setting a field costs more than comparing two texts, and few values change.
                yield f"if {guard}(normal := {name}[value]) != value: self.{name} = normal"
            else:
                yield f"if {guard}not ({_NORMAL.get(clean)}): self.{name} = {name}(value)"
        elif optional:
            test = "is None" if field.default is None else f"is not UNSET and value == {field.default!r}"
            yield f"if value {test}: self.{name} = UNSET"


def _normalise_method(model: type[BaseModel]) -> Clean:
    # Unrolled, as dataclasses do it for __init__: a loop over the fields takes twice as long, and this is the
    # hottest code of ingest. The source only contains field names of our own models.
    scope: dict[str, Any] = {"UNSET": UNSET}
    lines = ["def normalise(self):", *_steps(model, scope)]
    exec("\n    ".join([*lines, "return self"]), scope)  # noqa: S102
    method: Clean = scope["normalise"]
    method.__doc__ = "Bring every field into its normal form, in place; raises PydanticCustomError."
    return method


_DERIVED: dict[type[BaseModel], type[msgspec.Struct]] = {}


def derive(model: type[BaseModel]) -> type[msgspec.Struct]:
    """The struct of a model, made once. Raises TypeError if a struct cannot express the model."""
    if model in _DERIVED:
        return _DERIVED[model]
    columns: list[Any] = []
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        kind = _struct_type(_hint(field))
        columns.append(
            (name, kind) if field.is_required() else (name, Union[kind, UnsetType], UNSET)  # noqa: UP007
        )
    kind_field = model.model_fields.get("kind")
    tag: dict[str, Any] = {}
    if kind_field:
        tag = {"tag_field": "kind", "tag": get_args(kind_field.annotation)[0]}
    _DERIVED[model] = msgspec.defstruct(
        model.__name__,
        columns,
        namespace={"normalise": _normalise_method(model)},
        module=__name__,
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,  # an event never refers to itself, so the garbage collector can skip it
        **tag,
    )
    return _DERIVED[model]


#: The struct of each kind of event.
STRUCTS: dict[str, type[msgspec.Struct]] = {kind: derive(model) for kind, model in MODELS.items()}
Interaction: Any = STRUCTS["interaction"]
Post: Any = STRUCTS["post"]
Reading: Any = STRUCTS["reading"]
Broadcast: Any = STRUCTS["broadcast"]
KINDS: dict[type, str] = {struct: kind for kind, struct in STRUCTS.items()}


def from_model(model: BaseModel) -> Event:
    """The struct of a validated model, in normal form."""
    values: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        encoded = name == "v" or field.is_required() or (value is not None and value != field.default)
        if encoded and name != "kind":
            values[name] = from_model(value) if isinstance(value, BaseModel) else value
    return _DERIVED[type(model)](**values)
