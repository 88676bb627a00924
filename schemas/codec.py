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

import re
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
#: What is between two members of an array.
_GAP = re.compile(rb"[ \t\r\n,]*")
#: Puts an x in place of each byte that is not ASCII.
_ASCII = bytes(each if each < 128 else ord("x") for each in range(256))
#: An array with a larger member is not looked into: to find its end takes long, and no event is near that.
_MAX_MEMBER_BYTES = 2 * 2**20
#: The bytes of an array that are split at a time.
_WINDOW = 64 * 1024
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


def split_array(body: bytes) -> Iterator[list[bytes]]:
    """The members of a JSON array, each as it was sent, in parts; a part may be empty.

    Each part takes a few milliseconds, so that the caller may do other things in between. Raises SplitError
    if the body turns out not to be an array.
    """
    end = len(body)
    at = _GAP.match(body, 0).end() + 1  # type: ignore[union-attr]
    start, window = at, _WINDOW
    while end - at > window:
        for cut in _cuts(body, at, at + window, tries=8 if window == _WINDOW else 1):
            members = _members(body[at:cut], b"]")
            if members:
                yield members
                at, window = cut + 1, _WINDOW
                break
            yield []
        else:
            window *= 2
            if window > _MAX_MEMBER_BYTES:
                raise SplitError(
                    rejection(
                        "",
                        Reason.TOO_LARGE,
                        f"what begins at byte {at} is larger than any event; send it in parts",
                    )
                )
    if end - start <= _SLOWLY_BYTES:
        yield _split_last(body)
        return
    last = _members(body[at:])
    if last is None or (not last and at > start):
        raise SplitError(rejection("", Reason.NOT_JSON, f"not the rest of an array, from byte {at} on"))
    yield last


def _cuts(body: bytes, start: int, end: int, tries: int) -> Iterator[int]:
    """Commas at which a part of an array may end, the likely ones first.

    If one is between members, and only then, what is before it is JSON by itself.
    """
    for sign, share in ((b"},{", 4), (b"},", 2), (b",", 1)):
        at = end
        for _ in range(max(1, tries // share)):
            at = body.rfind(sign, start, at)
            if at < 0:
                break
            if (cut := at + sign.index(b",")) > start:
                yield cut


def _split_last(body: bytes) -> list[bytes]:
    """The members of a body that is small."""
    members = _members(body.lstrip(_BLANK)[1:])
    return list(_split_slowly(body)) if members is None else members


def _members(inside: bytes, bracket: bytes = b"") -> list[bytes] | None:
    """The members of what follows the opening bracket; None if it is not JSON.

    msgspec rejects bytes that are not UTF-8 and lone surrogates anywhere; but they concern one member alone.
    So what it rejects is split again, with plain text in their places.
    """
    array = b"[" + inside + bracket
    try:
        return [bytes(raw) for raw in _decode_raws(array)]
    except RecursionError:
        raise SplitError(too_deep()) from None
    except msgspec.DecodeError:
        pass
    masked = array.replace(b"\\ud", b"\\u0").replace(b"\\uD", b"\\u0").translate(_ASCII)
    try:
        lengths = [len(bytes(raw)) for raw in _decode_raws(masked)]
    except msgspec.DecodeError:
        return None
    members: list[bytes] = []
    at = 1
    for length in lengths:
        at = _GAP.match(array, at).end()  # type: ignore[union-attr]
        members.append(array[at : at + length])
        at += length
    return members


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
