"""Bytes to events and back.

Two ways, one result. The fast way decodes a whole body at once with the structs of ``schemas.structs``. If it
does not accept the body, it decodes event by event; ``schemas.validation`` then decides with pydantic about
every event that is still not accepted. The fast way may be stricter than the slow one but never more lenient;
a property test checks that.

No fast parser reports a key that occurs twice. So the structs are encoded again, which gives the shortest
JSON for them: if the body has the same length, no key was lost. If the body is longer, the colons are
counted: each colon in JSON follows a key or is part of a text, so if no colon was lost, no key was. (A text
may hide a colon in an escape; a longer body with that escape goes the slow way.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Union

import msgspec
from msgspec import Raw

from schemas.events import Clock
from schemas.reasons import Reason, Rejection
from schemas.structs import STRUCTS, Event
from schemas.validation import PARSE, rejection, too_deep, validate

_union: Any = Union[tuple(STRUCTS.values())]  # noqa: UP007 - made from a tuple
_decode_one = msgspec.json.Decoder(_union).decode
_decode_many = msgspec.json.Decoder(list[_union]).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode

#: The errors of the decoders: MsgspecError, and two others for bad UTF-8 and deep nesting.
_UNDECODED = (msgspec.MsgspecError, RecursionError, ValueError)
#: A larger body is split bit by bit if Python has to do it.
_SLOWLY_BYTES = 64 * 1024
_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"


def decode_batch(body: bytes) -> list[Event] | None:
    """The events, in normal form, of a JSON array of valid events; None if the body is anything else."""
    try:
        events: list[Event] = _decode_many(body)
        if not _keys_kept(body, events):
            return None
        for event in events:
            event.normalise()
    except _UNDECODED:
        return None
    return events


def decode_lines(lines: Iterable[bytes]) -> list[Event] | None:
    """The events, in normal form, of lines with a valid event each; None if a line has none."""
    try:
        events = [_decode_one(line) for line in lines]
        if not all(map(_keys_kept, lines, events)):
            return None
        for event in events:
            event.normalise()
    except _UNDECODED:
        return None
    return events


def decode_one(raw: bytes) -> Event | Rejection:
    """The event in normal form, or why it is rejected."""
    try:
        event: Event = _decode_one(raw)
        if _keys_kept(raw, event):
            return event.normalise()
    except _UNDECODED:
        pass
    return validate(raw)


def _keys_kept(raw: bytes, decoded: Any) -> bool:
    encoded = _encode(decoded)
    if len(encoded) == len(raw):
        return True
    if b"\\" in raw and (b"u003a" in raw or b"u003A" in raw):
        return False
    return raw.count(b":") == encoded.count(b":")


def is_array(body: bytes) -> bool:
    """Whether a body is an array, provided that it is JSON."""
    return body[:1] == b"[" or body.lstrip(_BLANK)[:1] == b"["


class SplitError(ValueError):
    """A body is not a JSON array as a whole; ``rejection`` says why."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.detail)
        self.rejection = rejection


def split_array(body: bytes) -> Iterable[Raw | bytes] | Rejection:
    """The members of a JSON array, each as it was sent, or why the body is not an array.

    They come as a list; or, of a large body that msgspec cannot split, one by one, so that the caller may do
    other things in between. Then a body that is not an array raises SplitError once that shows.
    """
    try:
        return _decode_raws(body)
    except RecursionError:
        return too_deep()
    except msgspec.DecodeError:
        if len(body) > _SLOWLY_BYTES:
            return _split_slowly(body)
    try:
        return list(_split_slowly(body))
    except SplitError as error:
        return error.rejection


def _split_slowly(body: bytes) -> Iterator[bytes]:
    """Lone surrogates are JSON, but msgspec rejects the whole body. Raises SplitError."""
    # Bytes that are not UTF-8 survive decoding and encoding; their member is rejected later.
    text = body.decode("utf-8", "surrogateescape")
    try:
        at = _blank_end(text, _blank_end(text, 0) + 1)
        if text[at : at + 1] == "]":
            at += 1
        else:
            while True:
                _, end = PARSE.raw_decode(text, at)
                yield text[at:end].encode("utf-8", "surrogateescape")
                at = _blank_end(text, end)
                sign, at = text[at : at + 1], _blank_end(text, at + 1)
                if sign == "]":
                    break
                if sign != ",":
                    raise SplitError(rejection("", Reason.NOT_JSON, f"expected , or ] at character {at}"))
        if text[at:].strip(_BLANK.decode()):
            raise SplitError(rejection("", Reason.NOT_JSON, f"more text after the array, at character {at}"))
    except RecursionError:
        raise SplitError(too_deep()) from None
    except SplitError:
        raise
    except ValueError as error:
        raise SplitError(rejection("", Reason.NOT_JSON, str(error))) from None


def _blank_end(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in " \t\r\n":
        at += 1
    return at


def split_lines(body: bytes) -> list[bytes]:
    """The non-blank lines of NDJSON."""
    return [line for line in body.split(b"\n") if line and not line.isspace()]


def without_bom(body: bytes) -> bytes:
    """The body without the UTF-8 byte order mark that some tools write first."""
    return body[3:] if body.startswith(_BOM) else body


def encode(entry: Event) -> bytes:
    """An event in normal form, encoded for the log: compact JSON."""
    return _encode(entry)


def encode_entries(entries: list[Event]) -> bytes:
    """Events in normal form as members of a JSON array, without its brackets: ``{...},{...}``."""
    return _encode(entries)[1:-1]


def encode_clock(clock: Clock) -> bytes:
    """A clock record, encoded for the log."""
    return clock.model_dump_json().encode()


def is_json(raw: bytes) -> bool:
    """Whether the bytes are one JSON value."""
    try:
        msgspec.json.decode(raw)
    except _UNDECODED:
        return False
    return True
