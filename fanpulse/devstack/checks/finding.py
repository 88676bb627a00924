"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: Something is missing that one may do without, or is about to be.
    WARN = "warn"
    #: fanpulse cannot work like this.
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, and what to do about it if it is not ok."""

    level: Level
    subject: str
    seen: str
    advice: str = ""


def ok(subject: str, seen: str) -> Finding:
    return Finding(Level.OK, subject, seen)


def warn(subject: str, seen: str, advice: str) -> Finding:
    return Finding(Level.WARN, subject, seen, advice)


def fail(subject: str, seen: str, advice: str) -> Finding:
    return Finding(Level.FAIL, subject, seen, advice)
