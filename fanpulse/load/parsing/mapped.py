"""What a row becomes: one line for ingest."""

from __future__ import annotations

from typing import Any, NamedTuple

from schemas.reasons import Rejection


class Mapped(NamedTuple):
    """``line`` is JSON without a line break (or the row, if it is malformed); ``event`` is its content.

    ``rejections`` are what we know to be wrong with it; ingest decides, and keeps it as a dead letter.
    """

    line: bytes
    event: dict[str, Any] | None = None
    rejections: tuple[Rejection, ...] = ()


def place(event: dict[str, Any], path: str, value: Any) -> None:
    """Set a field by its dotted path."""
    *outer, name = path.split(".")
    for part in outer:
        inner = event.get(part)
        if not isinstance(inner, dict):
            inner = event[part] = {}
        event = inner
    event[name] = value
