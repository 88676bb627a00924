"""What the services write without models, for speed, satisfies the schemas that are published for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

import schemas
from schemas.codec import decode_one, encode, encode_clock
from schemas.dead_letter import RedriveMarker, encode_dead_letter, encode_marker
from schemas.events import Clock
from schemas.export import json_schemas
from schemas.reasons import Reason, Rejection
from schemas.selection import Score, encode_candidates, encode_selected
from schemas.totals import Checkpoint
from schemas.totals_schema import SCOPES, key_schema
from services.aggregate.counting.decode import BadEntry
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.kafka.dead_letters import dead_letter as aggregator_dead_letter
from services.ingest.pipeline.known_posts import record_of

SCHEMAS = json_schemas()
EXAMPLES = Path(schemas.__file__).parent / "examples"
NOW_MS = 1_782_120_664_000


def check(path: str, document: Any) -> None:
    jsonschema.Draft7Validator(SCHEMAS[f"json/{path}.v1.json"]).validate(document)


@pytest.mark.parametrize("raw", [b"", b'{"kind":"interaction"}', b"\xff\x00", b"x" * 300_000])
@pytest.mark.parametrize("reason", [Reason.NOT_JSON, Reason.TOO_LARGE])
def test_dead_letters_of_ingest_are_as_published(raw: bytes, reason: Reason) -> None:
    """Empty, short, not UTF-8 or huge: each dead letter satisfies the schema of engagement.rejected.v1."""
    rejection = Rejection("actor.id", reason, "a sentence")
    written = encode_dead_letter(rejection, raw, source="http 127.0.0.1", received_at=NOW_MS, index=-1)
    check("rejected/dead_letter", json.loads(written))


def test_dead_letters_of_the_aggregator_are_as_published() -> None:
    """Entries of the log that are not events satisfy the same schema."""
    entry = BadEntry(2, Reason.UNSUPPORTED_VERSION, "version", b'{"v":2}')
    check("rejected/dead_letter", json.loads(aggregator_dead_letter(entry, 3, 4711, NOW_MS / 1000)))


def test_a_redrive_marker_is_as_published() -> None:
    """What `fanpulse dead-letters redrive` writes beside dead letters satisfies its schema."""
    check("rejected/redriven", json.loads(encode_marker(RedriveMarker("ab" * 16, NOW_MS, accepted=False))))


def test_a_known_post_is_kept_as_published() -> None:
    """What ingest keeps of a post satisfies the schema of engagement.posts.v1."""
    post = {
        "kind": "post", "event_id": "p1", "occurred_at": NOW_MS, "platform": "facebook",
        "account": "VisitGansu", "post_id": "122098431760",
        "format": "live", "language": "zh-Hans", "hashtags": ["#伏羲大典"],
        "campaign": "fuxi-ceremony-2026", "broadcast_id": "fuxi-2026",
    }  # fmt: skip
    for fields in (post, {key: value for key, value in post.items() if key not in ("hashtags", "campaign")}):
        record = record_of(decode_one(json.dumps(fields).encode()))
        check("posts/known_post", json.loads(record.value))
        assert json.loads(record.key) == ["facebook", "122098431760"]


def test_a_clock_record_is_as_published() -> None:
    """Clock records satisfy the schema of the log."""
    check("log/clock", json.loads(encode_clock(Clock(kind="clock", stream_time=NOW_MS, source="event"))))


def test_the_position_of_a_partition_is_as_published() -> None:
    """Every counter of schemas.totals.Position is in the schema, and no other."""
    checkpoint = Checkpoint(0, -1, 0, 0, 0, 0, 0, 0, 0, 250_000, 2)
    check("totals/checkpoint", json.loads(msgspec.json.encode(checkpoint)))
    assert set(SCHEMAS["json/totals/checkpoint.v1.json"]["properties"]) == set(Checkpoint.__struct_fields__)


def test_the_choice_of_series_is_as_published() -> None:
    """Candidates and choices satisfy the schemas of engagement.selection.v1, also with none."""
    names = {("twitter", "GansuTravel"): Score(12, 40), ("伏羲大典",): Score(0, 7)}
    for scores in (names, {}):
        check("selection/candidates", json.loads(encode_candidates(scores)))
        check("selection/selected", json.loads(encode_selected(scores)))


def test_a_key_of_totals_belongs_to_one_scope() -> None:
    """Readers tell entries apart by the first member of the key."""
    keys = jsonschema.Draft7Validator(key_schema())
    assert len(SCOPES) == len(key_schema()["oneOf"])
    for key in (
        ["account", "twitter", "GansuTravel"],
        ["vip"],
        ["minute", "fuxi-2026", NOW_MS],
        ["checkpoint"],
    ):
        keys.validate(key)
    for key in (
        ["account", "twitter"],
        ["story", "x"],
        [],
        ["vip", "x"],
        ["reading", "twitter", "x", "likes!"],
    ):
        assert not keys.is_valid(key)


def test_totals_are_written_as_published() -> None:
    """Every key and value that the aggregator stores satisfies its scope's schema; no scope is left out."""
    state = PartitionState(0, DedupWindow(250_000, 2))
    examples = [decode_one(path.read_bytes()) for path in sorted((EXAMPLES / "valid").glob("*.json"))]
    entries = [encode(event).decode() for event in examples]
    clock = encode_clock(Clock(kind="clock", stream_time=NOW_MS + 7_200_000, source="event")).decode()
    state.apply(0, f"[{','.join([*entries, clock])}]".encode())
    keys, scopes = jsonschema.Draft7Validator(key_schema()), set()
    for key, value in take_changes(state):
        keys.validate(json.loads(key))
        scope = json.loads(key)[0]
        scopes.add(scope)
        assert value is not None
        check(f"totals/{scope}", json.loads(value))
    assert scopes == set(SCOPES)
