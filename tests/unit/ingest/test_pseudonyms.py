"""Who acted stays hidden: in the log by pseudonyms, and in what is rejected too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.codec import decode_one
from schemas.reasons import Rejection
from services.ingest.pipeline.pseudonyms import REDACTED, Pseudonymizer

KEY = b"a key of the tests"
EVENT: dict[str, Any] = {
    "kind": "interaction", "event_id": "e", "occurred_at": 1_782_120_600_000, "platform": "twitter",
    "account": "GansuTravel", "action": "like", "actor": {"id": "8841-li", "name": "Li Wei", "country": "CN"},
}  # fmt: skip
SECRETS = (b"8841", b"Li Wei", "李伟".encode())


def redacted(raw: bytes, *vips: str) -> bytes:
    return Pseudonymizer(vips, KEY).redact(raw)


def pseudonym(event: dict[str, Any], *vips: str) -> Any:
    """The actor of an event, as ingest writes it to the log."""
    decoded = decode_one(json.dumps(event).encode())
    assert not isinstance(decoded, Rejection), decoded
    Pseudonymizer(vips, KEY).pseudonymize(decoded.platform, decoded.actor)
    return decoded.actor


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps(EVENT | {"action": "clap"}).encode(),
        json.dumps(EVENT, indent=2).encode(),
        json.dumps([EVENT]).encode(),
        json.dumps({"event": EVENT}).encode(),
        json.dumps(EVENT | {"actor": "Li Wei"}).encode(),
        json.dumps(EVENT | {"actor": ["8841-li", "Li Wei"]}).encode(),
        json.dumps(EVENT | {"actor": {"id": 8841, "name": "李伟"}}, ensure_ascii=False).encode(),
        json.dumps(EVENT | {"actor": {"id": "8841-li", "name": {"first": "Li Wei"}}}).encode(),
        json.dumps(EVENT).replace("actor", "\\u0061ctor").encode(),
        json.dumps(EVENT).encode()[:-2],
        json.dumps(EVENT).encode()[:-30],
        json.dumps(EVENT).encode() * 2,
        b"{" + json.dumps(EVENT).encode(),
        b'{"actor": {"id": "8841-li", "name": "Li Wei',
        b'{"actor":"Li Wei',
        b'{"actor":{"id":"8841-li"},"actor":{"id":"8841-li","name":"Li Wei"}}',
    ],
)
def test_what_is_rejected_does_not_say_who_acted(raw: bytes) -> None:
    """In every shape in which it may come, whether it can be read or not."""
    kept = redacted(raw)
    assert not any(secret in kept for secret in SECRETS), kept
    assert b"actor" in kept


def test_the_rest_stays_as_it_is() -> None:
    """Bytes without an actor are not touched, and every other field keeps its value."""
    for raw in (b"", b"{", b"[1]", b'{ "a" : 1 }', b"\xff\xfe", b"no json"):
        assert redacted(raw) == raw
    wrong = EVENT | {"action": "clap", "unknown": {"a": [1, None]}}
    found = json.loads(redacted(json.dumps(wrong).encode()))
    assert {**found, "actor": None} == {**wrong, "actor": None}
    assert found["actor"]["country"] == "CN"


@pytest.mark.parametrize("vips", [(), ("twitter:8841-li",)])
def test_sent_again_it_counts_as_it_would_have(vips: tuple[str, ...]) -> None:
    """The log has the same pseudonym and the same VIP mark as if it had been good at once."""
    kept = json.loads(redacted(json.dumps(EVENT | {"action": "clap"}).encode(), *vips))
    mended, direct = pseudonym(kept | {"action": "like"}, *vips), pseudonym(EVENT, *vips)
    assert (mended.id, mended.country, mended.verified) == (direct.id, direct.country, direct.verified)
    assert redacted(json.dumps(kept).encode(), *vips) == redacted(redacted(json.dumps(kept).encode(), *vips))


def test_with_raw_ids_nothing_is_taken_out() -> None:
    """The organisation has chosen so for the log, and a dead letter says no more than the log."""
    raw = json.dumps(EVENT | {"action": "clap"}).encode()
    assert Pseudonymizer((), None).redact(raw) == raw


def test_what_was_taken_out_stays_out() -> None:
    """An actor that was not an object is still none, so it is rejected again and not counted as somebody."""
    kept = json.loads(redacted(json.dumps(EVENT | {"actor": "Li Wei"}).encode()))
    assert kept["actor"] == REDACTED
