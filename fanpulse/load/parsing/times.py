"""Times as files have them: RFC 3339, the notations of platforms and spreadsheets, and epoch numbers.

What can mean two days is not guessed: ``--time-format`` says how a column is written.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from fanpulse.load.parsing.cells import INTEGER, CellError, rejectable, shown
from schemas.fields import EPOCH
from schemas.reasons import Reason

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
#: What a unit's numbers are multiplied by to be milliseconds.
_TO_MS = {"s": Decimal(1000), "ms": Decimal(1), "us": Decimal(1) / 1000, "ns": Decimal(1) / 1_000_000}
#: With `auto`, numbers below each bound have that unit. As milliseconds, one below the first would lie before
#: March 1973; each other bound is a year after 5000 in one unit and before 1974 in the next.
_BOUNDS = ((10**11, "s"), (10**14, "ms"), (10**17, "us"))

_DECIMAL = re.compile(r"\d{1,15}\.\d{1,9}", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CLOCK = r"(?:[Tt ,]+(\d{1,2}:\d\d)(:\d\d)?(\.\d{1,9})?)?"
_OFFSET = r" ?([Zz]|[+-]\d\d(?::?\d\d)?)?"
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.])(\d\d?)\2(\d\d?){_CLOCK}{_OFFSET}", re.ASCII)
_CHINESE = re.compile(
    rf"(\d{{4}})(年)(\d\d?)月(\d\d?)[日号]{_CLOCK.replace('[Tt ,]+', '[Tt ,]*')}{_OFFSET}", re.ASCII
)
#: Days with dots are written day first wherever they are written.
_DAY_FIRST = re.compile(rf"(\d\d?)(\.)(\d\d?)\.(\d{{4}}){_CLOCK}{_OFFSET}", re.ASCII)
_SLASHES = re.compile(rf"\d\d?([/-])\d\d?\1\d\d(\d\d)?({_CLOCK})(?: ?[AaPp][Mm])?{_OFFSET}", re.ASCII)
#: With the name of the month, in English: X's archive and its tables, mail, YouTube.
_NAMED = (
    "%a %b %d %H:%M:%S %z %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %b %d, %Y",
    "%b %d, %Y",
    "%d %b %Y",
    "%b %d, %Y %H:%M",
    "%b %d, %Y, %I:%M %p",
)


def time_zone(name: str) -> tzinfo:
    """A zone by its IANA name; raises ValueError, or ZoneInfoNotFoundError (a KeyError), for any other name.

    UTC is known also where the machine has no zone data, as in small containers.
    """
    return UTC if name == "UTC" else ZoneInfo(name)


class Times:
    """Reads times, and counts what it had to decide: the unit of numbers, and times without an offset."""

    def __init__(self, unit: TimeUnit = "auto", zone: str = "UTC", time_format: str | None = None) -> None:
        """``time_format``: of all texts, as ``datetime.strptime`` has it."""
        self._unit = unit
        self.zone = zone
        self._zone = time_zone(zone)
        self._format = time_format
        #: How many numbers were taken for which unit, milliseconds apart.
        self.units: Counter[str] = Counter()
        self.without_offset = 0

    def read(self, value: Any) -> Any:
        """RFC 3339 text as it is; every other readable time as epoch milliseconds. Raises CellError.

        A time without an offset, or a day, is taken in the zone; of an hour that occurs twice, the first.
        """
        if isinstance(value, str):
            if self._format is not None:
                return self._by_format(value, self._format)
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
        raise CellError(rejectable(value), Reason.BAD_TIME, "neither a text nor a number")

    def _text(self, text: str) -> Any:
        if INTEGER.fullmatch(text):
            return self._number(int(text))
        if _DECIMAL.fullmatch(text):
            return self._fraction(Decimal(text))
        if match := _YEAR_FIRST.fullmatch(text) or _CHINESE.fullmatch(text):
            year, _, month, day, *rest = match.groups()
            return self._parts(text, year, month, day, rest)
        if match := _DAY_FIRST.fullmatch(text):
            day, _, month, year, *rest = match.groups()
            return self._parts(text, year, month, day, rest)
        if match := _SLASHES.fullmatch(text):
            raise CellError(text, Reason.BAD_TIME, _two_readings(text, match[1], len(match[2] or "")))
        for notation in _NAMED:
            try:
                moment = datetime.strptime(text, notation)
            except ValueError:
                continue
            return self._moment(moment)
        detail = f"{shown(text)} is no time in a known notation; --time-format says how it is written"
        raise CellError(text, Reason.BAD_TIME, detail)

    def _parts(self, text: str, year: str, month: str, day: str, rest: list[str | None]) -> int:
        clock, seconds, fraction, offset = rest
        if offset and len(offset) == 3:
            offset += ":00"
        precise = (fraction or ".0")[:7].ljust(7, "0")
        try:
            written = f"{year}-{month:0>2}-{day:0>2}T{clock or '00:00':0>5}{seconds or ':00'}{precise}"
            return self._moment(datetime.fromisoformat(f"{written}{offset or ''}".upper()))
        except (ValueError, OverflowError):
            raise CellError(text, Reason.BAD_TIME, f"{shown(text)}: no such day, time or offset") from None

    def _by_format(self, text: str, time_format: str) -> int:
        try:
            return self._moment(datetime.strptime(text, time_format))
        except (ValueError, OverflowError):
            detail = f"{shown(text)} is not written as --time-format {time_format!r} says"
            raise CellError(text, Reason.BAD_TIME, detail) from None

    def _moment(self, moment: datetime) -> int:
        if moment.tzinfo is None:
            self.without_offset += 1
            moment = moment.replace(tzinfo=self._zone)
        return (moment - EPOCH) // timedelta(milliseconds=1)

    def _number(self, number: int) -> int:
        unit = self._unit_of(number)
        if unit == "s":
            return number * 1000
        return number if unit == "ms" else number // (1000 if unit == "us" else 1_000_000)

    def _fraction(self, number: Decimal) -> int:
        if not number.is_finite():
            raise CellError(str(number), Reason.BAD_TIME, f"{number} is no time")
        return int(number * _TO_MS[self._unit_of(number)])

    def _unit_of(self, number: int | Decimal) -> str:
        unit: str = self._unit
        if unit == "auto":
            size = abs(int(number))
            unit = next((name for bound, name in _BOUNDS if size < bound), "ns")
        if unit != "ms":
            self.units[unit] += 1
        return unit


def _two_readings(text: str, separator: str, century: int) -> str:
    """What to do about a day that an American and a European read differently."""
    year = "%Y" if century else "%y"
    clock = ""
    if ":" in text:
        clock = " %I:%M %p" if text[-1] in "mM" else " %H:%M:%S" if text.count(":") == 2 else " %H:%M"
    month_first, day_first = (f"{first}{separator}{second}{separator}{year}{clock}"
                              for first, second in (("%m", "%d"), ("%d", "%m")))  # fmt: skip
    return f"{shown(text)} is read in two ways; say --time-format {month_first!r} or {day_first!r}"
