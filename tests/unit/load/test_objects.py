"""`fanpulse load`: JSON rows to events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fanpulse.load.parsing.objects import ObjectMapper
from fanpulse.load.parsing.rules import parse_rules
from schemas.codec import decode_one
from schemas.reasons import Reason, Rejection

LIKE: dict[str, Any] = {
    "kind": "interaction", "event_id": "e1", "occurred_at": "2026-06-22T09:30:00Z", "platform": "twitter",
    "account": "GansuTravel", "action": "like", "actor": {"id": "u1"},
}  # fmt: skip
FOREIGN: dict[str, Any] = {
    "id": 122158012345678901, "created": 1782120600, "author": {"name": "GansuTravel", "site": "twitter"},
    "tags": ["FuxiCeremony"], "text": "hello",
}  # fmt: skip
FIT = ["post_id=id", "occurred_at=created", "account=author.name", "platform=author.site", "hashtags=tags"]


def line(row: Any) -> bytes:
    """A row as a line."""
    return json.dumps(row).encode()


def test_an_event_passes_byte_for_byte() -> None:
    """Spaces, order and unknown fields of an event are none of our business: ingest validates it."""
    text = b'{ "kind":"interaction",  "event_id":"e1", "surprise": 1.50 }'
    assert ObjectMapper(parse_rules()).map(text).line == text


def test_an_event_without_an_id_gets_the_hash_of_its_content() -> None:
    """The order of keys does not matter, other content does, and the rest of the line stays as it is."""
    mapper = ObjectMapper(parse_rules())
    row = {name: value for name, value in LIKE.items() if name != "event_id"}
    first, second = mapper.map(line(row)), mapper.map(line(dict(reversed(row.items()))))
    other = mapper.map(line(row | {"action": "share"}))
    assert json.loads(first.line)["event_id"] == json.loads(second.line)["event_id"]
    assert json.loads(first.line)["event_id"] != json.loads(other.line)["event_id"]
    assert not isinstance(decode_one(first.line), Rejection)


def test_a_further_campaign_does_not_change_the_id() -> None:
    """The id of an event that is written again is that of one that is only completed."""
    row = {name: value for name, value in LIKE.items() if name != "event_id"}
    plain = json.loads(ObjectMapper(parse_rules()).map(line(row)).line)
    fitted = json.loads(ObjectMapper(parse_rules(sets=["campaign=c"])).map(line(row)).line)
    assert fitted["campaign"] == "c"
    assert fitted["event_id"] == plain["event_id"]


def test_map_and_set_mend_an_event() -> None:
    """--map moves a value to the field it belongs to and reads it; --set replaces what is there."""
    row = LIKE | {"hashtag": "#a, #b", "when": 1782120600, "account": "typo"}
    rules = parse_rules(
        maps=["hashtags=hashtag", "occurred_at=when"], sets=["account=GansuTravel", "actor.country=CN"]
    )
    event = json.loads(ObjectMapper(rules).map(line(row)).line)
    assert event == LIKE | {
        "hashtags": ["#a", "#b"], "occurred_at": 1782120600000, "actor": {"id": "u1", "country": "CN"}
    }  # fmt: skip


def test_a_field_can_be_read_anew_from_itself() -> None:
    """--map occurred_at=occurred_at turns the seconds of an event into milliseconds."""
    event = json.loads(
        ObjectMapper(parse_rules(maps=["occurred_at=occurred_at"]))
        .map(line(LIKE | {"occurred_at": 1782120600}))
        .line
    )
    assert event["occurred_at"] == 1782120600000


def test_a_set_value_goes_only_where_the_kind_has_the_field() -> None:
    """In a file of several kinds, --set campaign leaves readings alone."""
    mapper = ObjectMapper(parse_rules(sets=["campaign=c"]))
    assert "campaign" not in json.loads(mapper.map(line({"kind": "reading", "event_id": "r"})).line)
    assert json.loads(mapper.map(line(LIKE)).line)["campaign"] == "c"


@pytest.mark.parametrize(
    "text",
    [b"not json", b"[1]", b'"x"', b"\xff\xfe", b'{"a":NaN}', b'{"a":"\\ud800"}', b"[" * 100_000,
     b'{"kind":"interaction","action":"like","action":"share"}', b'{"kind":5}', b"{}", b'{"kind":"boost"}'],
)  # fmt: skip
@pytest.mark.parametrize("sets", [[], ["campaign=c"]])
def test_what_is_no_event_is_passed_on_for_ingest_to_reject(text: bytes, sets: list[str]) -> None:
    """No repair: not even a repeated key gets lost by writing the row again."""
    found = ObjectMapper(parse_rules(sets=sets)).map(text).line
    result = decode_one(found)
    assert isinstance(result, Rejection)
    if b"action" in text:
        assert result.reason is Reason.REPEATED_KEY or found.count(b'"action"') == 2


def test_rows_of_others_are_read_like_a_table() -> None:
    """With --kind, a row that is not an event: nested values by dotted names, the rest ignored and named."""
    mapper = ObjectMapper(parse_rules("post", FIT))
    event = json.loads(mapper.map(line(FOREIGN)).line)
    event_id = event.pop("event_id")
    assert event == {
        "kind": "post", "post_id": "122158012345678901", "occurred_at": 1782120600000,
        "account": "GansuTravel", "platform": "twitter", "hashtags": ["FuxiCeremony"],
    }  # fmt: skip
    assert event_id.startswith("row-")
    assert mapper.ignored == ["text"]
    assert mapper.times.units["s"] == 1


def test_a_kind_of_somebody_else_is_no_kind_of_ours() -> None:
    """APIs have a key `kind` too; with --kind given, `youtube#video` does not stand in the way."""
    event = json.loads(
        ObjectMapper(parse_rules("post", FIT)).map(line(FOREIGN | {"kind": "youtube#video"})).line
    )
    assert (event["kind"], event["post_id"]) == ("post", "122158012345678901")


def test_values_that_cannot_be_read_are_named() -> None:
    """As in a table, the value stays in the event, and the finding says what is wrong."""
    found = ObjectMapper(parse_rules("post", FIT)).map(line(FOREIGN | {"id": 1.22158e17, "created": "soon"}))
    assert {rejection.field for rejection in found.rejections} == {"post_id", "occurred_at"}
    assert isinstance(decode_one(found.line), Rejection)


def test_repeated_keys_of_rows_of_others_are_not_hidden() -> None:
    """Which of two values was meant is not for us to say."""
    text = b'{"id":"1","id":"2","created":1782120600,"author":{"name":"a","site":"t"}}'
    assert ObjectMapper(parse_rules("post", FIT)).map(text).line == text
