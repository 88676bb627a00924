"""What the options say: which kind a row is, which column fills which field, and what is set for all rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

from pydantic import ValidationError

from fanpulse.load.parsing.cell_parsers import converter
from fanpulse.load.parsing.cells import CellError
from fanpulse.load.parsing.fields import Field, all_fields, closest, fields_of
from fanpulse.load.parsing.times import Times, TimeUnit, time_zone
from schemas.events import MODELS


class RulesError(ValueError):
    """The options do not fit the contract or the file. The message is one line that says what to change."""


@dataclass(frozen=True)
class Rules:
    """Checked options. ``maps``: field path -> column (also ``kind``); ``sets``: field path -> value."""

    kind: str | None = None
    maps: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[str, Any] = field(default_factory=dict)
    time_unit: TimeUnit = "auto"
    zone: str = "UTC"
    time_format: str | None = None

    def times(self) -> Times:
        """A new reader of times under these rules."""
        return Times(self.time_unit, self.zone, self.time_format)


def parse_rules(
    kind: str | None = None,
    maps: Iterable[str] = (),
    sets: Iterable[str] = (),
    time_unit: TimeUnit = "auto",
    zone: str = "UTC",
    time_format: str | None = None,
) -> Rules:
    """Rules from option texts such as ``occurred_at=published_at``. Raises RulesError."""
    if kind is not None and kind not in MODELS:
        raise RulesError(f"--kind {kind}: {_instead(kind, MODELS)}")
    try:
        time_zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RulesError(
            f"--timezone {zone}: not a time zone such as UTC or Asia/Shanghai "
            "(or this machine has no zone data: pip install tzdata)"
        ) from None
    if time_format is not None:
        _check_format(time_format)
    known = fields_of(kind) if kind else all_fields()
    mapped = dict(_assignments("--map", maps))
    for path in mapped:
        if path != "kind":
            _known_field("--map", kind, path, known)
    values: dict[str, Any] = {}
    for path, text in _assignments("--set", sets):
        if path in mapped:
            raise RulesError(f"{path} is given by --map and by --set: drop one of them")
        values[path] = _value(
            _known_field("--set", kind, path, known), text, Times(time_unit, zone, time_format)
        )
    return Rules(kind, mapped, values, time_unit, zone, time_format)


def _check_format(time_format: str) -> None:
    """A format has to say the day: each of year, month and day changes what it writes."""
    moment = datetime(2026, 11, 8, 18, 12)
    others = (moment.replace(year=2025), moment.replace(month=10), moment.replace(day=9))
    if any(other.strftime(time_format) == moment.strftime(time_format) for other in others):
        raise RulesError(
            f"--time-format {time_format}: says no day; write it like %d/%m/%Y %H:%M, with %d, %m and %Y"
        )
    try:
        datetime.strptime(moment.strftime(time_format), time_format)
    except ValueError as error:
        raise RulesError(f"--time-format {time_format}: {error}") from None


def _assignments(option: str, texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for text in texts:
        path, sign, rest = text.partition("=")
        path = path.strip()
        if not sign or not path or not rest.strip():
            right = "column" if option == "--map" else "value"
            raise RulesError(f"{option} {text}: write it as field={right}")
        if path in seen:
            raise RulesError(f"{option} {text}: {path} is given twice")
        seen.add(path)
        yield path, rest.strip()


def _known_field(option: str, kind: str | None, path: str, known: Mapping[str, Field]) -> Field:
    if path == "kind":
        raise RulesError("say the kind by --kind, not by --set")
    if path not in known:
        problem = f"{kind or 'an event'} has no such field"
        raise RulesError(f"{option} {path}: {_instead(path, known, problem)}")
    return known[path]


def _instead(name: str, names: Iterable[str], problem: str = "no such kind") -> str:
    near = closest(name, names)
    return f"{problem}; did you mean {near}?" if near else f"{problem}; there are {', '.join(names)}"


def _value(known: Field, text: str, times: Times) -> Any:
    """The value of a --set, by pydantic's own rule for the field, since it would be wrong in every row."""
    try:
        value = converter(known.field_type, times)(text)
        known.check.validate_python(value)
    except CellError as error:
        raise RulesError(f"--set {known.path}={text}: {error.detail}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RulesError(f"--set {known.path}={text}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None
    return value
