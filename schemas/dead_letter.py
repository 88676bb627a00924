"""The records of engagement.rejected.v1: dead letters, and redrive markers beside them.

A dead letter is an event that was rejected, with the reason: byte for byte, but for the id and name of its
actor, which are pseudonymized as in the log. Ingest writes one for each event (or whole body) that it
rejects, the aggregator for each entry of the log that is not an event. A redrive marker says that the event
of one dead letter has been sent to ingest again.

Every writer uses ``encode_dead_letter`` and every reader ``read_dead_letter``; the published JSON Schemas are
generated from the two structs.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import Annotated, NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.events import VERSION
from schemas.reasons import Reason, Rejection

#: Longer bytes are cut. The dead letter says so, and such an event cannot be sent again from it.
MAX_RAW_BYTES = 256 * 1024
#: Up to this size the bytes are also there as text, for people who look with kcat.
MAX_TEXT_BYTES = 16 * 1024
#: The index of a rejection that is about a body as a whole.
WHOLE_BODY = -1
#: The source of a dead letter that the aggregator wrote.
LOG_SOURCE = "log"

_MARKER_START = b'{"redriven":'

_Name = Annotated[str, Meta(min_length=1)]
_Count = Annotated[int, Meta(ge=0)]
_REASONS = {"enum": [reason.value for reason in Reason]}


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, rename={"size": "bytes"}):
    """What was rejected, byte for byte but for who acted, and why."""

    id: Annotated[_Name, Meta(description="names the dead letter, e.g. to redrive it")]
    v: Annotated[int, Meta(description="version of this contract", extra_json_schema={"const": VERSION})]
    # A text and not a Reason: a reader takes reasons that a later version adds.
    reason: Annotated[str, Meta(description="see schemas.reasons", extra_json_schema=_REASONS)]
    field: Annotated[str, Meta(description="dotted path; empty: the event as a whole")]
    detail: Annotated[str, Meta(description="a sentence for people")]
    source: Annotated[
        _Name, Meta(description="where it came from; `log` for an entry of engagement.events.v1")
    ]
    received_at: Annotated[_Count, Meta(description="wall clock in epoch milliseconds")]
    index: Annotated[
        int, Meta(ge=WHOLE_BODY, description="place in the request or record; -1: the body as a whole")
    ]
    size: Annotated[_Count, Meta(description="size of what was rejected, also where raw is cut")]
    raw: Annotated[bytes, Meta(description="the bytes in base64, the first of them if truncated")]
    truncated: Annotated[bool, Meta(description="whether raw is only the beginning")]
    raw_text: Annotated[str, Meta(description="the same as text, if short and UTF-8")] | UnsetType = UNSET
    partition: Annotated[int, Meta(ge=0, description="of the entry of the log")] | UnsetType = UNSET
    offset: Annotated[int, Meta(ge=0, description="of the entry of the log")] | UnsetType = UNSET

    @property
    def origin(self) -> str:
        """The source, readable."""
        return unquote(self.source)

    @property
    def is_of_log(self) -> bool:
        """Whether it is an entry of the log, which has been through ingest before. A sender may choose any
        source, so the address says it."""
        return self.offset is not UNSET


class RedriveMarker(msgspec.Struct, frozen=True):
    """The event of a dead letter was sent again. If it was rejected again, it has a new dead letter."""

    redriven: Annotated[_Name, Meta(description="id of the dead letter")]
    at: Annotated[_Count, Meta(description="wall clock in epoch milliseconds")]
    accepted: Annotated[bool, Meta(description="whether ingest accepted it this time")]


class LogAddress(NamedTuple):
    """The record of engagement.events.v1 in which an entry stands."""

    partition: int
    offset: int


_encode = msgspec.json.Encoder().encode
_decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode
_decode_marker = msgspec.json.Decoder(RedriveMarker).decode


def encode_dead_letter(
    rejection: Rejection,
    raw: bytes,
    *,
    source: str,
    received_at: int,
    index: int,
    address: LogAddress | None = None,
) -> bytes:
    """The record of a dead letter. `received_at` in epoch milliseconds; `index` -1: the body as a whole.

    Its id is a hash of all that, or, for an entry of the log, its `address`: the same on every reading.
    """
    kept = raw[:MAX_RAW_BYTES]
    text: str | UnsetType = UNSET
    if len(kept) <= MAX_TEXT_BYTES:
        with contextlib.suppress(UnicodeDecodeError):  # then the base64 has to do
            text = kept.decode()
    return _encode(
        DeadLetter(
            id=f"log-{address.partition}-{address.offset}-{index}"
            if address
            else _id(raw, source, received_at, index),
            v=VERSION,
            reason=rejection.reason.value,
            field=rejection.field,
            detail=rejection.detail,
            source=source,
            received_at=received_at,
            index=index,
            size=len(raw),
            raw=kept,
            truncated=len(kept) < len(raw),
            raw_text=text,
            partition=address.partition if address else UNSET,
            offset=address.offset if address else UNSET,
        )
    )


def _id(raw: bytes, source: str, received_at: int, index: int) -> str:
    digest = hashlib.blake2b(f"{received_at} {index} {source}\n".encode(), digest_size=16)
    digest.update(raw)
    return digest.hexdigest()


def read_dead_letter(value: bytes | None) -> DeadLetter | None:
    """The dead letter of a record; None if the record is anything else."""
    if not value or value.startswith(_MARKER_START):
        return None
    try:
        return _decode_dead_letter(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def encode_marker(marker: RedriveMarker) -> bytes:
    """The record of a redrive marker. It begins as no dead letter does, so markers are found quickly."""
    return _encode(marker)


def read_marker(value: bytes | None) -> RedriveMarker | None:
    """The redrive marker of a record; None if the record is anything else."""
    if not value or not value.startswith(_MARKER_START):
        return None
    try:
        return _decode_marker(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
