"""A cell that cannot be read: what goes into the event in its place, and how it is shown."""

from __future__ import annotations

import re
from typing import Any

from schemas.reasons import Reason

#: A whole number: longer than any, and shorter than the 4,300 digits that Python itself rejects.
INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)


class CellError(ValueError):
    """A cell that cannot be read. ``value`` goes into the event in its place: ingest rejects and keeps it."""

    def __init__(self, value: Any, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.value = value
        self.reason = reason
        self.detail = detail


def rejectable(value: Any) -> Any:
    """A JSON value of a type that no text, number or flag field takes, showing what was there."""
    if isinstance(value, float | int | bool | list | dict | None):
        # JSON has no NaN and no infinity.
        return value if not isinstance(value, float) or abs(value) < float("inf") else [str(value)]
    return [str(value)]


def shown(value: Any) -> str:
    """The value in quotes, cut if it is long."""
    text = str(value)
    return repr(text if len(text) <= 40 else text[:39] + "…")
