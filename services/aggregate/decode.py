"""Reading the log: strict about what is counted, lenient about the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from schemas.events import VERSION, Action, Format, Metric, Phase
from schemas.fields import MAX_QUANTITY, MAX_VALUE
from schemas.reasons import Reason


class LogActor(msgspec.Struct, gc=False):
    """What counting needs of an actor."""

    country: str | None = None
    verified: bool | None = None


class Entry(msgspec.Struct, gc=False):
    """One entry of the log, of any kind; unknown fields are passed over."""

    kind: Literal["interaction", "post", "reading", "broadcast", "clock"]
    v: int = VERSION
    event_id: str = ""
    occurred_at: int = 0
    platform: str = ""
    account: str = ""
    action: Action | None = None
    quantity: Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)] = 1
    post_id: str | None = None
    broadcast_id: str | None = None
    hashtags: tuple[str, ...] | None = None
    campaign: str | None = None
    post_format: Format | None = None
    format: Format | None = None
    actor: LogActor | None = None
    metric: Metric | None = None
    value: Annotated[int, msgspec.Meta(ge=0, le=MAX_VALUE)] | None = None
    phase: Phase | None = None
    title: str | None = None
    present: int = 0


@dataclass(frozen=True, slots=True)
class BadEntry:
    """An entry that is no event. ``index`` is -1 if the record as a whole could not be read."""

    index: int
    reason: Reason
    detail: str
    raw: bytes


_decode_batch = msgspec.json.Decoder(list[Entry]).decode
_decode_one = msgspec.json.Decoder(Entry).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def problem(entry: Entry) -> str | None:
    """Why a decoded entry cannot be counted; None if it can."""
    if entry.v != VERSION:
        return "version"
    kind = entry.kind
    if kind == "clock":
        return None if entry.present > 0 else "present"
    if not entry.event_id or entry.occurred_at <= 0 or not entry.platform or not entry.account:
        return "event_id, occurred_at, platform and account are needed"
    if kind == "interaction":
        return None if entry.action is not None else "action"
    if kind == "post":
        return None if entry.post_id else "post_id"
    if kind == "reading":
        return None if entry.metric is not None and entry.value is not None else "metric and value"
    return None if entry.broadcast_id and entry.phase is not None else "broadcast_id and phase"


def decode_record(data: bytes | None) -> tuple[list[Entry], list[BadEntry]]:
    """The entries of a record in order, and those that are none.

    A record is a JSON array of entries or one entry. What cannot be read as JSON is one bad entry.
    """
    try:
        entries = _decode_batch(data or b"")
        if not any(map(problem, entries)):
            return entries, []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return _decode_slowly(data or b"")


def _decode_slowly(data: bytes) -> tuple[list[Entry], list[BadEntry]]:
    try:
        raws = [bytes(raw) for raw in _split(data)] if data.lstrip()[:1] == b"[" else [data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return [], [BadEntry(-1, Reason.NOT_JSON, str(error), data)]
    entries, bad = [], []
    for index, raw in enumerate(raws):
        try:
            entry = _decode_one(raw)
        except msgspec.ValidationError as error:
            bad.append(BadEntry(index, Reason.BAD_VALUE, str(error), raw))
        except UnicodeDecodeError as error:
            bad.append(BadEntry(index, Reason.NOT_UTF8, str(error), raw))
        except (msgspec.MsgspecError, RecursionError) as error:
            bad.append(BadEntry(index, Reason.NOT_JSON, str(error), raw))
        else:
            trouble = problem(entry)
            if trouble is None:
                entries.append(entry)
            elif trouble == "version":
                detail = f"version {entry.v}; this release reads version {VERSION}"
                bad.append(BadEntry(index, Reason.UNSUPPORTED_VERSION, detail, raw))
            else:
                bad.append(BadEntry(index, Reason.MISSING_FIELD, trouble, raw))
    return entries, bad
