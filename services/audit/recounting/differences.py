"""What an audit found wrong: one difference is one line for people, and one object in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Kind = Literal["file", "checkpoint", "record", "figure", "milestone", "spike", "alert"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that does not match. ``word`` says how: DIFFERS, MISSING, EXTRA, DAMAGED, FALSE, TWICE.

    ``difference`` is published less recounted, where both are numbers or absent (counted as 0).
    """

    kind: Kind
    word: str
    text: str
    scope: str = ""
    subject: tuple[str, ...] = ()
    metric: str = ""
    published: int | None = None
    recounted: int | None = None
    partitions: tuple[int, ...] = ()

    @property
    def difference(self) -> int | None:
        """Published less recounted; None if neither is known."""
        if self.published is None and self.recounted is None:
            return None
        return (self.published or 0) - (self.recounted or 0)

    @property
    def line(self) -> str:
        """The line for people."""
        return f"{self.word:<8} {self.text}"

    def as_json(self) -> dict[str, Any]:
        """The object of the report."""
        return {
            "kind": self.kind,
            "word": self.word,
            "text": self.text,
            "scope": self.scope,
            "subject": list(self.subject),
            "metric": self.metric,
            "published": self.published,
            "recounted": self.recounted,
            "difference": self.difference,
            "partitions": list(self.partitions),
        }


def subject_of(s1: str, s2: str) -> tuple[str, ...]:
    """The names of a subject, from the two columns that hold them in SQL."""
    return tuple(name for name in (s1, s2) if name)


def named(scope: str, subject: Sequence[str], metric: str) -> str:
    """A figure's name in a line, e.g. ``account twitter GansuTravel like``."""
    shown = [f"#{name}" for name in subject] if scope == "hashtag" else list(subject)
    return " ".join((scope, *shown, metric))


def in_partitions(numbers: Sequence[int]) -> str:
    """E.g. ``in partition 2``, ``in partitions 0, 3``."""
    return f"in partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def moment(at_ms: int) -> str:
    """A time for people: RFC 3339 in UTC, to the millisecond."""
    try:
        text = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
    return text.replace("+00:00", "Z")
