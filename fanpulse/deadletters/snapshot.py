"""Dead letters as commands choose and summarise them. ``schemas.dead_letter`` says what one is."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.dead_letter import DeadLetter

_SHORT = 8
_encode = msgspec.json.Encoder().encode


def short_id(dead_letter_id: str) -> str:
    """An id as it is shown: short enough to type, long enough to be unique among many thousands."""
    return dead_letter_id[:_SHORT] if len(dead_letter_id) == 32 else dead_letter_id


@dataclass(frozen=True)
class Choice:
    """Which dead letters a command is about: by the beginnings of ids or by reason; both empty: all.

    Entries of the log can be left out: to send them through ingest again would hash their actors twice.
    """

    ids: tuple[str, ...] = ()
    reason: str | None = None
    of_log: bool = True

    def takes(self, dead_letter: DeadLetter) -> bool:
        """Whether a dead letter belongs to the choice."""
        if dead_letter.is_of_log and not self.of_log:
            return False
        if self.ids and not dead_letter.id.startswith(self.ids):
            return False
        return self.reason is None or dead_letter.reason == self.reason


@dataclass
class Overview:
    """The newest dead letters of a choice, at most `limit`, and the number of all by reason."""

    limit: int
    dead_letters: deque[DeadLetter] = field(init=False)
    by_reason: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dead_letters = deque(maxlen=self.limit)

    def add(self, dead_letter: DeadLetter) -> None:
        """Add the next dead letter, in the order of the log."""
        self.dead_letters.append(dead_letter)
        self.by_reason[dead_letter.reason] += 1

    @property
    def total(self) -> int:
        """The number of dead letters."""
        return self.by_reason.total()

    def newest_first(self) -> Iterable[DeadLetter]:
        """The dead letters kept."""
        return reversed(self.dead_letters)


def without_fields(data: bytes, names: Iterable[str]) -> bytes:
    """An event without some of its top-level fields; anything but a JSON object stays as it is."""
    try:
        event: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data
    if not isinstance(event, dict) or not any(name in event for name in names):
        return data
    return _encode({name: value for name, value in event.items() if name not in set(names)})
