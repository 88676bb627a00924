"""Checks that a changed schema still accepts every document that was valid before.

Within a version every valid document stays valid, since clients still send it and Kafka still holds it. So
within a version you must not

- remove a field, or forbid further fields where they were allowed,
- require a field that was optional, or add a required one,
- change a type, or take one of several away,
- narrow a list of values, a range, a length, a pattern, or demand uniqueness.

If you have to, write a new version next to the old one. You may add an optional field or a value, or widen a
limit: readers are updated before writers.

The check knows the keywords that our schemas use. Any other keyword is an error, so that none is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]

_NOTES = {"$schema", "title", "description", "default", "examples", "format"}
_FLOORS = ("minimum", "minLength", "minItems")
_CEILINGS = ("maximum", "maxLength", "maxItems")
_STRUCTURE = {
    "type", "const", "enum", "pattern", "uniqueItems", "anyOf", "properties", "required",
    "additionalProperties", "propertyNames", "items",
}  # fmt: skip
_KNOWN = _NOTES | set(_FLOORS) | set(_CEILINGS) | _STRUCTURE


class UnknownKeywordError(ValueError):
    """A schema uses a keyword that the comparison does not understand."""


def incompatible_changes(old: Document, new: Document) -> list[str]:
    """The changes by which `new` rejects what `old` accepts, one line each; empty if there are none.

    Raises UnknownKeywordError.
    """
    return list(_compare(old, new, ""))


def _compare(old: Document, new: Document, path: str) -> Iterator[str]:
    for schema in (old, new):
        if unknown := set(schema) - _KNOWN:
            raise UnknownKeywordError(f"{path or 'top level'}: {', '.join(sorted(unknown))}")
    before, after = _alternatives(old), _alternatives(new)
    if len(before) > 1 or len(after) > 1:
        for option in before:
            # An alternative is still accepted if some new alternative accepts all of it.
            yield from min((list(_single(option, other, path)) for other in after), key=len)
    else:
        yield from _single(before[0], after[0], path)


def _alternatives(schema: Document) -> list[Document]:
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return [rest | option for option in schema.get("anyOf", [{}])]


def _single(old: Document, new: Document, path: str) -> Iterator[str]:
    where = path or "the event"
    was, now = old.get("type", "any"), new.get("type", "any")
    if now not in ("any", was) and (was, now) != ("integer", "number"):
        yield f"{where}: type was {was}, is {now}"
        return
    yield from _values(old, new, where)
    yield from _limits(old, new, where)
    yield from _fields(old, new, path)
    if "items" in new:
        yield from _items(old.get("items", {}), new["items"], f"{path}[]")


def _values(old: Document, new: Document, where: str) -> Iterator[str]:
    allowed = _listed(new)
    if allowed is None:
        return
    before = _listed(old)
    if before is None:
        yield f"{where}: any value was allowed, now only {allowed}"
    elif gone := [value for value in before if value not in allowed]:
        yield f"{where}: no longer allows {gone}"


def _listed(schema: Document) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _limits(old: Document, new: Document, where: str) -> Iterator[str]:
    for name in _FLOORS:
        if name in new and old.get(name, float("-inf")) < new[name]:
            yield f"{where}: {name} was {old.get(name, 'not set')}, is {new[name]}"
    for name in _CEILINGS:
        if name in new and old.get(name, float("inf")) > new[name]:
            yield f"{where}: {name} was {old.get(name, 'not set')}, is {new[name]}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{where}: pattern was {old.get('pattern', 'not set')}, is {new['pattern']}"
    if new.get("uniqueItems") and not old.get("uniqueItems"):
        yield f"{where}: members must be distinct now"


def _fields(old: Document, new: Document, path: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    others = new.get("additionalProperties", True)
    for name, schema in before.items():
        field_path = f"{path}.{name}" if path else name
        if name in after:
            yield from _compare(schema, after[name], field_path)
        elif others is False:
            yield f"{field_path}: field removed"
        elif others is not True:
            yield from _compare(schema, others, field_path)
    for name in new.get("required", []):
        if name not in old.get("required", []):
            yield f"{f'{path}.{name}' if path else name}: required now"
    was = old.get("additionalProperties", True)
    if was is not False and others is False:
        yield f"{path or 'the event'}: further fields are rejected now"
    elif was is not False and others is not True:
        yield from _compare({} if was is True else was, others, f"{path}.*")
    if "propertyNames" in new:
        yield from _compare(old.get("propertyNames", {}), new["propertyNames"], f"{path}.* (names)")


def _items(old: Document | list[Document], new: Document | list[Document], path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _compare(old, new, path)
    elif old != new:
        yield f"{path}: members changed"
