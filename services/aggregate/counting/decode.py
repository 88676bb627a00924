"""Reading the log: strict about what is counted, lenient about the rest."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from schemas.events import VERSION
from schemas.log import Clock, Entry
from schemas.reasons import Reason


@dataclass(frozen=True, slots=True)
class BadEntry:
    """An entry that is not an event. ``index`` is -1 if the record as a whole could not be read."""

    index: int
    reason: Reason
    detail: str
    raw: bytes


_decode_batch = msgspec.json.Decoder(list[Entry]).decode
_decode_one = msgspec.json.Decoder(Entry).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Versioned(msgspec.Struct):
    v: Any = VERSION


_decode_version = msgspec.json.Decoder(_Versioned).decode


class _Identity(msgspec.Struct, gc=False):
    event_id: str = ""


_decode_identities = msgspec.json.Decoder(list[_Identity]).decode
_event_id = attrgetter("event_id")


def event_ids(data: bytes | None, *, all_good: bool) -> list[str]:
    """The ids of a record's events, in order. ``all_good``: it is known that no entry of it is bad, which
    spares most of the work."""
    if all_good and data is not None and data[:1] == b"[":
        ids = list(map(_event_id, _decode_identities(data)))
        return ids if "" not in ids else list(filter(None, ids))  # clock records have none
    return [entry.event_id for entry in decode_record(data)[0] if not isinstance(entry, Clock)]


def decode_record(data: bytes | None) -> tuple[list[Entry], list[BadEntry]]:
    """The entries of a record in order, and the parts of it that are not entries.

    A record is a JSON array of entries or one entry. What cannot be read as JSON is one bad entry.
    """
    try:
        return _decode_batch(data or b""), []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_slowly(data or b"")


def _decode_slowly(data: bytes) -> tuple[list[Entry], list[BadEntry]]:
    try:
        raws = [bytes(raw) for raw in _split(data)] if data.lstrip()[:1] == b"[" else [data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return [], [BadEntry(-1, Reason.NOT_JSON, str(error), data)]
    entries, bad = [], []
    for index, raw in enumerate(raws):
        try:
            entries.append(_decode_one(raw))
        except msgspec.ValidationError as error:
            bad.append(BadEntry(index, *_invalid(raw, str(error)), raw))
        except UnicodeDecodeError as error:
            bad.append(BadEntry(index, Reason.NOT_UTF8, str(error), raw))
        except (msgspec.MsgspecError, RecursionError) as error:
            bad.append(BadEntry(index, Reason.NOT_JSON, str(error), raw))
    return entries, bad


def _invalid(raw: bytes, detail: str) -> tuple[Reason, str]:
    """Why JSON is no entry. Another version comes first: what its fields mean is not known here."""
    try:
        version = _decode_version(raw).v
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Reason.BAD_VALUE, detail  # no object
    if version != VERSION:
        return Reason.UNSUPPORTED_VERSION, f"version {version}; this release reads version {VERSION}"
    missing = "missing required field" in detail
    return (Reason.MISSING_FIELD if missing else Reason.BAD_VALUE), detail
