"""One cell to one value of an event: texts as CSV has them, and typed values as JSON and Parquet have them.

What cannot be read is never guessed. ``CellError`` then carries a value for the event that ingest is bound to
reject and that still shows what was there, so the dead letter holds it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from fanpulse.load.parsing.fields import FieldType
from schemas.fields import EPOCH
from schemas.hashtags import is_blank, marked
from schemas.reasons import Reason

TimeUnit = Literal["auto", "s", "ms"]
Converter = Callable[[Any], Any]

#: With `auto`, a smaller number is epoch seconds: as milliseconds it would lie before March 1973.
SECONDS_BELOW = 10**11
#: Whole numbers up to here are exact in a double, so an id that passed through one is still whole.
_EXACT_DOUBLE = 2**53

#: What the name of a column says that holds hashtags and nothing else, in English, German, Chinese, Japanese.
_OF_TAGS = re.compile(r"tag|keyword|schlagw|stichw|标签|標籤|话题|話題|タグ", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s,;，；、]+")
_INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)  # longer than any: Python itself rejects 4,300 digits
_DECIMAL = re.compile(r"\d{1,15}\.\d{1,9}", re.ASCII)
_DAMAGED_ID = re.compile(r"([+-]?\d(?:[.,]\d+)?[Ee]\+\d{1,3})|(\d+\.0)", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(:\d\d)?(\.\d{1,9})?)? ?([Zz]|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


class CellError(ValueError):
    """A cell that cannot be read. ``value`` goes into the event in its place: ingest rejects and keeps it."""

    def __init__(self, value: Any, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.value = value
        self.reason = reason
        self.detail = detail


def time_zone(name: str) -> tzinfo:
    """A zone by its IANA name; raises ValueError, or ZoneInfoNotFoundError (a KeyError), for any other name.

    UTC is known also where the machine has no zone data, as in small containers.
    """
    return UTC if name == "UTC" else ZoneInfo(name)


class Times:
    """Reads times, and counts what it had to decide: numbers that are seconds, times without an offset."""

    def __init__(self, unit: TimeUnit = "auto", zone: str = "UTC") -> None:
        self._unit = unit
        self.zone = zone
        self._zone = time_zone(zone)
        self.seconds = 0
        self.without_offset = 0

    def read(self, value: Any) -> Any:
        """RFC 3339 text as it is; every other readable time as epoch milliseconds. Raises CellError.

        A time without an offset, or a day, is taken in the zone; of an hour that occurs twice, the first.
        """
        if isinstance(value, str):
            return value if _RFC3339.fullmatch(value) else self._text(value)
        if isinstance(value, bool):
            raise CellError(value, Reason.BAD_TIME, f"{value} is no time")
        if isinstance(value, int):
            return self._number(value)
        if isinstance(value, float | Decimal):
            return self._fraction(Decimal(str(value)))
        if isinstance(value, datetime):
            return self._moment(value)
        if isinstance(value, date):
            return self._moment(datetime.combine(value, time()))
        raise CellError(_rejectable(value), Reason.BAD_TIME, "neither a text nor a number")

    def _text(self, text: str) -> Any:
        if _INTEGER.fullmatch(text):
            return self._number(int(text))
        if _DECIMAL.fullmatch(text):
            return self._fraction(Decimal(text))
        match = _ISO.fullmatch(text)
        if not match:
            detail = f"{_shown(text)} is neither RFC 3339, nor ISO 8601, nor a number"
            raise CellError(text, Reason.BAD_TIME, detail)
        day, clock, seconds, fraction, offset = match.groups()
        if offset and len(offset) == 3:
            offset += ":00"
        precise = (fraction or ".0")[:7].ljust(7, "0")
        try:
            written = f"{day}T{clock or '00:00'}{seconds or ':00'}{precise}{offset or ''}"
            return self._moment(datetime.fromisoformat(written.upper()))
        except (ValueError, OverflowError):
            raise CellError(text, Reason.BAD_TIME, f"{_shown(text)}: no such day, time or offset") from None

    def _moment(self, moment: datetime) -> int:
        if moment.tzinfo is None:
            self.without_offset += 1
            moment = moment.replace(tzinfo=self._zone)
        return (moment - EPOCH) // timedelta(milliseconds=1)

    def _number(self, number: int) -> int:
        if self._unit == "s" or (self._unit == "auto" and abs(number) < SECONDS_BELOW):
            self.seconds += 1
            return number * 1000
        return number

    def _fraction(self, number: Decimal) -> int:
        if not number.is_finite():
            raise CellError(str(number), Reason.BAD_TIME, f"{number} is no time")
        if self._unit == "s" or (self._unit == "auto" and abs(number) < SECONDS_BELOW):
            self.seconds += 1
            number *= 1000
        return int(number)


def converter(field_type: FieldType, times: Times, column: str = "hashtags") -> Converter:
    """The function that makes a value of that shape of a cell that is not empty.

    Of hashtags, the name of the column says whether its words are hashtags, or a running text marks some.
    """
    if field_type is FieldType.TIME:
        return times.read
    if field_type is FieldType.HASHTAGS and not _OF_TAGS.search(column):
        return read_caption
    return _CONVERTERS[field_type]


def is_absent(value: Any) -> bool:
    """Whether a cell says nothing: empty or blank text, null, not-a-number."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and value != value)


def read_text(value: Any) -> Any:
    """A text; whole numbers and times become one, everything else is left for ingest to reject."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    raise CellError(_rejectable(value), Reason.WRONG_TYPE, f"{_shown(value)} is no text")


def read_id(value: Any) -> Any:
    """An identifier: a text, or a whole number that no program has rounded."""
    if isinstance(value, str):
        damaged = _DAMAGED_ID.fullmatch(value)
        if not damaged:
            return value
        number = float(value.replace(",", "."))
        if damaged[1]:
            detail = f"{value} is an id that a spreadsheet rounded: its last digits are lost"
        else:
            detail = f"{value} is an id that a program took for a number"
        raise CellError(_rejectable(number), Reason.WRONG_TYPE, f"{detail}; export the column as text")
    if isinstance(value, float | Decimal):
        if _is_whole(value):
            return str(int(value))
        detail = f"{value} is an id that was kept as a rounded number; export the column as text"
        raise CellError(_rejectable(value), Reason.WRONG_TYPE, detail)
    return read_text(value)


def read_integer(value: Any) -> Any:
    """A whole number. Thousands separators and decimals are rejected, since they differ by country."""
    if isinstance(value, str):
        if _INTEGER.fullmatch(value):
            return int(value)
        detail = f"{_shown(value)} is no whole number (digits only, no separators)"
        raise CellError(value, Reason.WRONG_TYPE, detail)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float | Decimal) and _is_whole(value):
        return int(value)
    raise CellError(_rejectable(value), Reason.WRONG_TYPE, f"{_shown(value)} is no whole number")


def read_boolean(value: Any) -> Any:
    """true, false, 1 or 0."""
    known = _BOOLEANS.get(str(value).casefold()) if isinstance(value, str | int) else None
    if known is None:
        detail = f"{_shown(value)} is none of true, false, 1 and 0"
        raise CellError(_rejectable(value), Reason.WRONG_TYPE, detail)
    return known


def read_hashtags(value: Any) -> Any:
    """A list of hashtags: a text is split at blanks, commas and semicolons; a list stays as it is."""
    if isinstance(value, str):
        if value.startswith("[") and value.endswith("]"):
            return _written_list(value)
        return [part for part in _SEPARATORS.split(value) if not is_blank(part)]
    if isinstance(value, list | tuple):
        tags = [_named(tag) for tag in value if tag is not None]
        return [tag for tag in tags if not isinstance(tag, str) or not is_blank(tag)]
    raise CellError(_rejectable(value), Reason.WRONG_TYPE, f"{_shown(value)} is no list of hashtags")


def read_caption(value: Any) -> Any:
    """The hashtags that a running text marks by #, and no other word of it. A list is one of hashtags."""
    if isinstance(value, str) and not (value.startswith("[") and value.endswith("]")):
        return list(marked(value))
    return read_hashtags(value)


def _named(tag: Any) -> Any:
    """The name in an object that stands for a hashtag, as in payloads of X and Mastodon."""
    if isinstance(tag, dict):
        return next((tag[key] for key in ("text", "tag", "name") if isinstance(tag.get(key), str)), tag)
    return tag


def _written_list(text: str) -> list[Any]:
    """A list as JSON or Python writes it: some exports put that into a cell."""
    for read in (json.loads, ast.literal_eval):
        try:
            tags = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(tags, list):
            names = [_named(tag) for tag in tags if tag is not None]
            if all(isinstance(name, str) for name in names):
                return names
    raise CellError(text, Reason.WRONG_TYPE, f"{_shown(text)} is no list of hashtags")


def _is_whole(value: float | Decimal) -> bool:
    return -_EXACT_DOUBLE < value < _EXACT_DOUBLE and value == int(value)


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CellError(_rejectable(value), Reason.NOT_UTF8, "bytes that are not UTF-8") from None


def _rejectable(value: Any) -> Any:
    """A JSON value of a type that no text, number or flag field takes, showing what was there."""
    if isinstance(value, float | int | bool | list | dict | None):
        # JSON has no NaN and no infinity.
        return value if not isinstance(value, float) or abs(value) < float("inf") else [str(value)]
    return [str(value)]


def _shown(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else text[:39] + "…")


_CONVERTERS: dict[FieldType, Converter] = {
    FieldType.TEXT: read_text,
    FieldType.ID: read_id,
    FieldType.INTEGER: read_integer,
    FieldType.BOOLEAN: read_boolean,
    FieldType.HASHTAGS: read_hashtags,
}
