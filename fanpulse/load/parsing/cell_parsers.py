"""One cell to one value of an event: texts as CSV has them, and typed values as JSON and Parquet have them.

What cannot be read is never guessed. ``CellError`` then carries a value for the event that ingest is bound to
reject and that still shows what was there, so the dead letter holds it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

from fanpulse.load.parsing.cells import INTEGER, CellError, rejectable, shown
from fanpulse.load.parsing.fields import FieldType
from fanpulse.load.parsing.times import Times
from schemas.hashtags import is_blank, marked
from schemas.reasons import Reason

Converter = Callable[[Any], Any]

#: Whole numbers up to here are exact in a double, so an id that passed through one is still whole.
_EXACT_DOUBLE = 2**53

#: What the name of a column says that holds hashtags and nothing else, in English, German, Chinese, Japanese.
_OF_TAGS = re.compile(r"tag|keyword|schlagw|stichw|标签|標籤|话题|話題|タグ", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s,;，；、]+")
_DAMAGED_ID = re.compile(r"([+-]?\d(?:[.,]\d+)?[Ee]\+\d{1,3})|(\d+\.0)", re.ASCII)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


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
    raise CellError(rejectable(value), Reason.WRONG_TYPE, f"{shown(value)} is no text")


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
        raise CellError(rejectable(number), Reason.WRONG_TYPE, f"{detail}; export the column as text")
    if isinstance(value, float | Decimal):
        if _is_whole(value):
            return str(int(value))
        detail = f"{value} is an id that was kept as a rounded number; export the column as text"
        raise CellError(rejectable(value), Reason.WRONG_TYPE, detail)
    return read_text(value)


def read_integer(value: Any) -> Any:
    """A whole number. Thousands separators and decimals are rejected, since they differ by country."""
    if isinstance(value, str):
        if INTEGER.fullmatch(value):
            return int(value)
        detail = f"{shown(value)} is no whole number (digits only, no separators)"
        raise CellError(value, Reason.WRONG_TYPE, detail)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float | Decimal) and _is_whole(value):
        return int(value)
    raise CellError(rejectable(value), Reason.WRONG_TYPE, f"{shown(value)} is no whole number")


def read_boolean(value: Any) -> Any:
    """true, false, 1 or 0."""
    known = _BOOLEANS.get(str(value).casefold()) if isinstance(value, str | int) else None
    if known is None:
        detail = f"{shown(value)} is none of true, false, 1 and 0"
        raise CellError(rejectable(value), Reason.WRONG_TYPE, detail)
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
    raise CellError(rejectable(value), Reason.WRONG_TYPE, f"{shown(value)} is no list of hashtags")


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
    raise CellError(text, Reason.WRONG_TYPE, f"{shown(text)} is no list of hashtags")


def _is_whole(value: float | Decimal) -> bool:
    return -_EXACT_DOUBLE < value < _EXACT_DOUBLE and value == int(value)


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CellError(rejectable(value), Reason.NOT_UTF8, "bytes that are not UTF-8") from None


_CONVERTERS: dict[FieldType, Converter] = {
    FieldType.TEXT: read_text,
    FieldType.ID: read_id,
    FieldType.INTEGER: read_integer,
    FieldType.BOOLEAN: read_boolean,
    FieldType.HASHTAGS: read_hashtags,
}
