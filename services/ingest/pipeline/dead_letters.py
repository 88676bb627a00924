"""Dead letters: what was refused, byte for byte, and why. They are records of engagement.rejected.v1."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from typing import Any

import msgspec

from schemas.reasons import Rejection

#: Longer bytes are cut: the letter says so, and such an event cannot be sent again from it.
MAX_RAW_BYTES = 256 * 1024
#: Up to this size the bytes are there as text too, for people who look with kcat.
MAX_TEXT_BYTES = 16 * 1024

_encode = msgspec.json.Encoder().encode


def dead_letter(rejection: Rejection, raw: bytes, *, source: str, received_at: int, index: int) -> bytes:
    """The record, compact JSON. `received_at` in epoch milliseconds; `index` -1: the body as a whole."""
    kept = raw[:MAX_RAW_BYTES]
    value: dict[str, Any] = {
        "id": _id(raw, source, received_at, index),
        "v": 1,
        "reason": rejection.reason.value,
        "field": rejection.field,
        "detail": rejection.detail,
        "source": source,
        "received_at": received_at,
        "index": index,
        "bytes": len(raw),
        "raw": base64.b64encode(kept).decode(),
    }
    if len(kept) < len(raw):
        value["truncated"] = True
    if len(kept) <= MAX_TEXT_BYTES:
        with contextlib.suppress(UnicodeDecodeError):  # then the base64 has to do
            value["raw_text"] = kept.decode()
    return _encode(value)


def _id(raw: bytes, source: str, received_at: int, index: int) -> str:
    digest = hashlib.blake2b(f"{received_at} {index} {source}\n".encode(), digest_size=16)
    digest.update(raw)
    return digest.hexdigest()
