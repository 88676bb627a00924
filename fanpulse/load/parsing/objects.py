"""JSON rows to events.

A row that names its ``kind`` is an event already: it passes byte for byte, unless --map or --set change it,
and ingest validates it. Any other is an export: with --kind it is read like the row of a table, nested
values by dotted names, and what fits no field is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from fanpulse.load.parsing.cell_parsers import converter, is_absent
from fanpulse.load.parsing.cells import CellError
from fanpulse.load.parsing.fields import all_fields, fields_of
from fanpulse.load.parsing.identity import object_row_id
from fanpulse.load.parsing.mapped import Mapped, place
from fanpulse.load.parsing.rules import Rules
from fanpulse.load.parsing.times import Times
from schemas.events import MODELS
from schemas.reasons import Rejection

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NOTHING = object()
#: Names of ignored keys are shown to a person; rows can have any number of different ones.
_MOST_IGNORED = 200


class ObjectMapper:
    """Maps JSON lines. What is not a JSON object is passed on as it is: ingest says why, and keeps it."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.times: Times = rules.times()
        self._readers = {
            path: converter(known.field_type, self.times, rules.maps.get(path, path))
            for path, known in all_fields().items()
        }
        self._ignored: dict[str, None] = {}
        #: Maps whose key no row has had so far: a misspelt one shows here.
        self.unused_maps = dict(rules.maps)

    @property
    def ignored(self) -> list[str]:
        """Keys of rows without a kind of their own that fill no field."""
        return list(self._ignored)

    def map(self, line: bytes) -> Mapped:
        """The event of a line."""
        try:
            row = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Mapped(line)
        if not isinstance(row, dict):
            return Mapped(line)
        own = _look_up(row, self._rules.maps.get("kind", "kind"))
        if isinstance(own, str) and (own in MODELS or not self._rules.kind):
            return self._map_event(line, row, own)
        return self._map_foreign(line, row, self._rules.kind) if self._rules.kind else Mapped(line)

    def _map_event(self, line: bytes, row: dict[str, Any], kind: str) -> Mapped:
        fields = fields_of(kind) if kind in MODELS else {}
        sets = {path: value for path, value in self._rules.sets.items() if path in fields}
        maps = {path: name for path, name in self._rules.maps.items() if path in fields}
        maps = {path: name for path, name in maps.items() if _look_up(row, name) is not _NOTHING}
        if "kind" in self._rules.maps:
            maps["kind"] = self._rules.maps["kind"]
        self._note_used(maps)
        if not maps and not sets and row.get("event_id", 0) is not None:
            if "event_id" in row or kind not in MODELS:
                return Mapped(line, row)
            row_id = object_row_id(row, row)
            # Written into the text, so that whatever else stands there reaches ingest as it is.
            start = line.index(b"{") + 1
            return Mapped(line[:start] + b'"event_id":"' + row_id.encode() + b'",' + line[start:], row)
        if _has_repeated_keys(line, row):
            return Mapped(line)
        event = _decode(line)
        if "kind" in maps:
            _take(event, maps.pop("kind"))
            event = {"kind": kind, **event}
        rejections: list[Rejection] = []
        taken = {path: _take(event, name) for path, name in maps.items()}
        for path, value in taken.items():
            self._read(event, path, value, rejections)
        return self._finish(event, sets, row, rejections)

    def _map_foreign(self, line: bytes, row: dict[str, Any], kind: str) -> Mapped:
        if _has_repeated_keys(line, row):
            return Mapped(line)
        event: dict[str, Any] = {"kind": kind}
        rejections: list[Rejection] = []
        used: set[str] = set()
        for path in fields_of(kind):
            name = self._rules.maps.get(path, path)
            if path not in self._rules.sets:
                value = _look_up(row, name)
                if value is not _NOTHING:
                    self._note_used((path,))
                self._read(event, path, value, rejections)
                used.add(name if name in row else name.partition(".")[0])
        if len(self._ignored) < _MOST_IGNORED:
            self._ignored.update(dict.fromkeys(name for name in row if name not in used))
        return self._finish(event, dict(self._rules.sets), row, rejections)

    def _note_used(self, paths: Iterable[str]) -> None:
        if self.unused_maps:
            for path in paths:
                self.unused_maps.pop(path, None)

    def _read(self, event: dict[str, Any], path: str, value: Any, rejections: list[Rejection]) -> None:
        if isinstance(value, str):
            value = value.strip()
        if value is _NOTHING or is_absent(value):
            return
        try:
            value = self._readers[path](value)
        except CellError as error:
            value = error.value
            rejections.append(Rejection(path, error.reason, error.detail))
        place(event, path, value)

    @staticmethod
    def _finish(
        event: dict[str, Any], sets: dict[str, Any], row: dict[str, Any], rejections: list[Rejection]
    ) -> Mapped:
        for path, value in sets.items():
            place(event, path, value)
        if event.get("event_id") is None:
            event["event_id"] = object_row_id(event, row)
        return Mapped(_encode(event), event, tuple(rejections))


def _look_up(row: dict[str, Any], name: str) -> Any:
    """The value under a name, else under a dotted path; _NOTHING if it is missing."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return _NOTHING
        value = value[part]
    return value


def _take(row: dict[str, Any], name: str) -> Any:
    """Like _look_up, and removes it; a nest that is left empty goes too."""
    if name in row:
        return row.pop(name)
    outer, _, rest = name.partition(".")
    inner = row.get(outer)
    if not rest or not isinstance(inner, dict):
        return _NOTHING
    value = _take(inner, rest)
    if not inner:
        del row[outer]
    return value


def _has_repeated_keys(line: bytes, row: dict[str, Any]) -> bool:
    """Whether a key occurs twice in an object: rewriting the row would hide it from ingest.

    True as well for what the careful reader cannot read: such a line is better passed on as it is.
    """
    # Every colon parts a key from its value, or stands in a text: if none got lost, no key did. An escape can
    # hide one in a text; such a line goes the slow way.
    if b"u003" not in line and line.count(b":") == _encode(row).count(b":"):
        return False
    repeated = False

    def pairs(items: list[tuple[str, Any]]) -> None:
        nonlocal repeated
        repeated = repeated or len({key for key, _ in items}) < len(items)

    try:
        json.loads(line, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return True
    return repeated
