"""Reading dead letters: what engagement.rejected.v1 holds, and which of them still wait.

Besides letters (see ``dead_letters``) the topic holds marks, ``{"redriven":id,"at":ms,"accepted":bool}``: the
event of that letter has been sent again. If it was refused again, there is a new letter in place of the old.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec

#: How a mark begins; letters begin otherwise, so that marks are found without decoding every letter.
_MARKER_START = b'{"redriven":'
_SHORT = 8


class DeadLetter(msgspec.Struct, frozen=True, rename={"length": "bytes"}):
    """A dead letter. Fields that a later version may add are left alone."""

    id: str
    reason: str
    field: str
    detail: str
    source: str
    received_at: int
    index: int
    raw: str
    truncated: bool = False
    length: int = -1

    @property
    def data(self) -> bytes:
        """What was refused, byte for byte; the beginning of it if truncated."""
        try:
            return base64.b64decode(self.raw)
        except binascii.Error:
            return b""

    @property
    def size(self) -> int:
        """Size of what was refused."""
        return self.length if self.length >= 0 else len(self.data)

    @property
    def origin(self) -> str:
        """The source, readable."""
        return unquote(self.source)

    @property
    def is_of_log(self) -> bool:
        """Whether it is an entry of the log that the aggregator refused: it has been through ingest."""
        return self.source == "log"


class RedriveMarker(msgspec.Struct, frozen=True):
    """A letter's event has been sent again."""

    redriven: str
    at: int
    accepted: bool = True


_decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode
_decode_marker = msgspec.json.Decoder(RedriveMarker).decode
_encode = msgspec.json.Encoder().encode


def encode_marker(marker: RedriveMarker) -> bytes:
    """The record of a mark."""
    return _encode({"redriven": marker.redriven, "at": marker.at, "accepted": marker.accepted})


def read_marker(value: bytes | None) -> RedriveMarker | None:
    """The mark of a record, if it is one."""
    if not value or not value.startswith(_MARKER_START):
        return None
    try:
        return _decode_marker(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read_dead_letter(value: bytes | None) -> DeadLetter | None:
    """The letter of a record, if it is one."""
    if not value or value.startswith(_MARKER_START):
        return None
    try:
        return _decode_dead_letter(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def short_id(dead_letter_id: str) -> str:
    """An id as it is shown: short enough to type, and long enough to be unique among many thousands."""
    return dead_letter_id[:_SHORT] if len(dead_letter_id) == 32 else dead_letter_id


@dataclass(frozen=True)
class Choice:
    """Which letters are wanted: by beginnings of their ids or by reason; both empty: all.

    Entries of the log can be left out: to send them through ingest again would hash their actors twice.
    """

    ids: tuple[str, ...] = ()
    reason: str | None = None
    of_log: bool = True

    def takes(self, dead_letter: DeadLetter) -> bool:
        """Whether a letter is wanted."""
        if dead_letter.is_of_log and not self.of_log:
            return False
        if self.ids and not dead_letter.id.startswith(self.ids):
            return False
        return self.reason is None or dead_letter.reason == self.reason


@dataclass
class Overview:
    """The last letters of a choice, and how many there are by reason; of any number of letters."""

    limit: int
    dead_letters: deque[DeadLetter] = field(init=False)
    by_reason: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dead_letters = deque(maxlen=self.limit)

    def add(self, dead_letter: DeadLetter) -> None:
        """Take in the next letter."""
        self.dead_letters.append(dead_letter)
        self.by_reason[dead_letter.reason] += 1

    @property
    def total(self) -> int:
        """How many letters there are."""
        return self.by_reason.total()

    def newest_first(self) -> Iterable[DeadLetter]:
        """The letters kept."""
        return reversed(self.dead_letters)


def without_fields(data: bytes, names: Iterable[str]) -> bytes:
    """An event without some of its top-level fields; what is no JSON object stays as it is."""
    try:
        event: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data
    if not isinstance(event, dict) or not any(name in event for name in names):
        return data
    return _encode({name: value for name, value in event.items() if name not in set(names)})
