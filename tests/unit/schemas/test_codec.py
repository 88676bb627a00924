"""The codec: what it accepts, the reasons it gives, and what an attacker may try against its fast way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas import codec
from schemas.events import LOG_ENTRY, MODELS, Clock
from schemas.reasons import Reason, Rejection
from schemas.structs import STRUCTS, Interaction, derive
from schemas.validation import MAX_DEPTH, validate

INTERACTION: dict[str, Any] = {
    "kind": "interaction",
    "event_id": "tw-1-like-77",
    "occurred_at": "2026-06-22T09:30:00Z",
    "platform": "twitter",
    "account": "GansuTravel",
    "action": "like",
    "actor": {"id": "77", "country": "CN"},
}


def raw(**changes: Any) -> bytes:
    """The interaction with changes; a change to ... leaves the field out."""
    return json.dumps({k: v for k, v in (INTERACTION | changes).items() if v is not ...}).encode()


def logged(body: bytes) -> dict[str, Any]:
    """What the log would hold of an event."""
    event = codec.decode_one(body)
    assert not isinstance(event, Rejection), event
    entry: dict[str, Any] = json.loads(codec.encode(event))
    return entry


def rejected(body: bytes) -> tuple[str, Reason]:
    """Field and reason of a rejection."""
    result = codec.decode_one(body)
    assert isinstance(result, Rejection), result
    return result.field, result.reason


def test_the_log_holds_normal_forms_the_version_and_nothing_that_says_nothing() -> None:
    """Texts are normalised, the time is in ms, nulls and defaults are left out, and `v` is there."""
    body = raw(
        platform="Twitter", account="@GansuTravel", hashtags=["#Fuxi", "＃FUXI", "伏羲大典"], quantity=1,
        campaign=None, actor={"id": "77", "country": "cn", "name": None, "verified": None},
    )  # fmt: skip
    assert logged(body) == {
        "kind": "interaction", "v": 1, "event_id": "tw-1-like-77", "occurred_at": 1_782_120_600_000,
        "platform": "twitter", "account": "GansuTravel", "action": "like", "hashtags": ["fuxi", "伏羲大典"],
        "actor": {"id": "77", "country": "CN"},
    }  # fmt: skip


def test_an_empty_list_of_hashtags_is_kept() -> None:
    """It says that there are none; a list that is absent says nothing."""
    assert logged(raw(hashtags=[]))["hashtags"] == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-22T09:30:00Z", 1_782_120_600_000),
        ("2026-06-22 09:30:00z", 1_782_120_600_000),
        ("2026-06-22T17:30:00+08:00", 1_782_120_600_000),
        ("2026-06-22T09:30:00.1239999Z", 1_782_120_600_123),
        ("2026-06-22T09:30:59.9-00:30", 1_782_122_459_900),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2000-01-01T00:00:00Z", 946_684_800_000),
        ("1999-12-31T23:30:00-01:00", 946_686_600_000),
        (1_782_120_600_000, 1_782_120_600_000),
    ],
)
def test_times_are_read_the_same_by_both_ways(text: str | int, moment: int) -> None:
    """RFC 3339 with any offset and fraction, and epoch milliseconds; twice, since parts are remembered."""
    for _ in range(2):
        assert logged(raw(occurred_at=text))["occurred_at"] == moment
    assert validate(raw(occurred_at=text)).occurred_at == moment


def test_the_fast_way_takes_what_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with every kind is decoded at once, as an array and as lines; the slow way sees none of it."""
    monkeypatch.setattr(codec, "validate", None)
    common = {k: v for k, v in INTERACTION.items() if k not in ("action", "actor")}
    sent = [
        INTERACTION,
        {**common, "kind": "post", "post_id": "p"},
        {**common, "kind": "reading", "metric": "followers", "value": 7},
        {**common, "kind": "broadcast", "broadcast_id": "b", "phase": "ended"},
    ]
    decoded = codec.decode_batch(json.dumps(sent, indent=1).encode())
    assert decoded is not None
    assert [type(event) for event in decoded] == list(STRUCTS.values())
    lines = codec.split_lines(b"\n".join(json.dumps(event).encode() for event in sent) + b"\r\n\n")
    assert codec.decode_lines(lines) == decoded
    assert [codec.decode_one(line) for line in lines] == decoded
    entries = json.loads(b"[" + codec.encode_entries(decoded) + b"]")
    assert [LOG_ENTRY.validate_python(entry).kind for entry in entries] == list(MODELS)


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"interaction","kind":"post"}',
        raw()[:-1] + b',"action":"like"}',
        raw()[:-1] + b',"action" :"like"}',
        raw()[:-1] + b',"act\\u0069on":"like"}',
        raw(post_id="a:b")[:-1] + b',"post_id":"ab"}',
        # The dropped duplicate loses a colon, and an escaped colon in a text would make up for it.
        raw(post_id="@@")[:-1].replace(b"@@", b"a\\u003ab") + b',"action":"like"}',
        raw(post_id="@@")[:-1].replace(b"@@", b"a\\u003Ab") + b',"action":"like"}',
        raw(post_id="@@")[:-1].replace(b"@@", b"\\\\a\\u003ab") + b',"action":"like"}',
        raw()[:-2] + b',"id":"78"}}',
    ],
)
def test_a_repeated_key_is_never_missed(body: bytes) -> None:
    """No fast parser reports it; the count of colons does, however the key is hidden."""
    assert rejected(body)[1] is Reason.REPEATED_KEY
    assert codec.decode_batch(b"[" + raw() + b"," + body + b"]") is None


def test_colons_in_texts_and_blanks_are_no_trouble() -> None:
    """A text with colons, and blanks around the colons of keys, do not look like a repeated key."""
    body = raw(post_id="a:b::c", event_id="http://x/1:2").replace(b": ", b" :\t")
    assert codec.decode_batch(b"[" + body + b"]") is not None


def test_an_escaped_colon_alone_is_accepted() -> None:
    """It goes the slow way, and is what it stands for."""
    assert logged(raw(post_id="@").replace(b"@", b"a\\u003ab"))["post_id"] == "a:b"


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"kind": "clock"}, "kind", Reason.UNKNOWN_KIND),
        ({"kind": "Interaction"}, "kind", Reason.UNKNOWN_KIND),
        ({"kind": ...}, "kind", Reason.MISSING_FIELD),
        ({"kind": None}, "kind", Reason.WRONG_TYPE),
        ({"kind": ["interaction"]}, "kind", Reason.WRONG_TYPE),
        ({"v": 2}, "v", Reason.UNSUPPORTED_VERSION),
        ({"v": 2, "kind": "new"}, "v", Reason.UNSUPPORTED_VERSION),
        ({"v": True}, "v", Reason.WRONG_TYPE),
        ({"v": 1.0}, "v", Reason.WRONG_TYPE),
        ({"v": None}, "v", Reason.WRONG_TYPE),
        ({"account": ...}, "account", Reason.MISSING_FIELD),
        ({"likes": 3}, "likes", Reason.UNKNOWN_FIELD),
        ({"actor": {"id": "1", "age": 3}}, "actor.age", Reason.UNKNOWN_FIELD),
        ({"actor": {}}, "actor.id", Reason.MISSING_FIELD),
        ({"actor": []}, "actor", Reason.WRONG_TYPE),
        ({"actor": {"id": "1", "country": "CHN"}}, "actor.country", Reason.TOO_LONG),
        ({"actor": {"id": "1", "country": "C1"}}, "actor.country", Reason.BAD_VALUE),
        ({"actor": {"id": "1", "verified": 1}}, "actor.verified", Reason.WRONG_TYPE),
        ({"hashtags": ["a", "b", "c", 4]}, "hashtags.3", Reason.WRONG_TYPE),
        ({"hashtags": ["a", "b c"]}, "hashtags", Reason.BAD_HASHTAG),
        ({"hashtags": "a"}, "hashtags", Reason.WRONG_TYPE),
        ({"hashtags": {"a": 1}}, "hashtags", Reason.WRONG_TYPE),
        ({"hashtags": [str(n) for n in range(51)]}, "hashtags", Reason.TOO_LONG),
        ({"occurred_at": 1_782_120_600}, "occurred_at", Reason.BAD_TIME),
        ({"occurred_at": "2026-06-22T09:30:00"}, "occurred_at", Reason.BAD_TIME),
        ({"occurred_at": "2026-06-22T24:00:00Z"}, "occurred_at", Reason.BAD_TIME),
        ({"occurred_at": "2026-06-22T09:30:00+24:00"}, "occurred_at", Reason.BAD_TIME),
        ({"occurred_at": 1.5}, "occurred_at", Reason.WRONG_TYPE),
        ({"occurred_at": True}, "occurred_at", Reason.WRONG_TYPE),
        ({"occurred_at": None}, "occurred_at", Reason.WRONG_TYPE),
        ({"quantity": 0}, "quantity", Reason.OUT_OF_RANGE),
        ({"quantity": 10**400}, "quantity", Reason.OUT_OF_RANGE),
        ({"quantity": -(10**400)}, "quantity", Reason.OUT_OF_RANGE),
        ({"quantity": 1.0}, "quantity", Reason.WRONG_TYPE),
        ({"quantity": None}, "quantity", Reason.WRONG_TYPE),
        ({"event_id": ""}, "event_id", Reason.TOO_SHORT),
        ({"event_id": "x" * 201}, "event_id", Reason.TOO_LONG),
        ({"event_id": " x"}, "event_id", Reason.BAD_CHARACTERS),
        ({"event_id": "a\u0000b"}, "event_id", Reason.BAD_CHARACTERS),
        ({"event_id": "a\u007fb"}, "event_id", Reason.BAD_CHARACTERS),
        ({"event_id": "\ud83d"}, "event_id", Reason.NOT_UTF8),
        ({"action": "adore"}, "action", Reason.BAD_VALUE),
        ({"action": 3}, "action", Reason.WRONG_TYPE),
        ({"account": "@"}, "account", Reason.TOO_SHORT),
        ({"platform": "a b"}, "platform", Reason.BAD_VALUE),
        ({"x" * 5000: 1}, "x" * 199 + "…", Reason.UNKNOWN_FIELD),
        ({"\ud800": 1}, "\\ud800", Reason.NOT_UTF8),
    ],
)
def test_each_mistake_has_its_field_and_reason(changes: dict[str, Any], field: str, reason: Reason) -> None:
    """One reason of the closed list, and a dotted path without any trace of the validator."""
    assert rejected(raw(**changes)) == (field, reason)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b"{", Reason.NOT_JSON),
        (b"{'a':1}", Reason.NOT_JSON),
        (b'{"a":NaN}', Reason.NOT_JSON),
        (b'{"a":-Infinity}', Reason.NOT_JSON),
        (b'{"a":1}{"b":2}', Reason.NOT_JSON),
        (b'"\xff"', Reason.NOT_UTF8),
        (b'{"a":"\xed\xa0\x80"}', Reason.NOT_UTF8),
        (b"null", Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b"1e999", Reason.NOT_AN_OBJECT),
        (b"9" * 5000, Reason.NOT_AN_OBJECT),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), Reason.TOO_DEEP),
        (b"[" * 100_000, Reason.TOO_DEEP),
        (b'{"a":' * 100_000, Reason.TOO_DEEP),
    ],
)
def test_what_is_no_event_at_all_is_rejected(body: bytes, reason: Reason) -> None:
    """Whatever the bytes are, there is a reason, and nothing is raised."""
    assert rejected(body) == ("", reason)


def test_details_are_short_and_can_be_shown() -> None:
    """A client's long or broken text does not come back at full length, nor as text that is no UTF-8."""
    for body in (raw(kind="k" * 100_000), raw(**{"\ud800" * 1000: 1})):
        result = codec.decode_one(body)
        assert isinstance(result, Rejection)
        assert len(result.detail.encode()) < 5000
        assert len(result.field.encode()) < 5000


def test_an_array_is_split_into_the_bytes_as_sent() -> None:
    """Each member keeps its own spelling, so that a dead letter shows what the client wrote."""
    members = [b'{"a" : 1}', b"2e1", b'"\\ud800"', b'"\xff"', b"[ ]"]
    (found,) = codec.split_array(b" [ " + b" ,\n".join(members) + b" ] ")
    assert found == members
    assert list(codec.split_array(b"[]")) == [[]]


@pytest.mark.parametrize("comma", [b",", b" ,\r\n"])
@pytest.mark.parametrize(
    "member",
    [b'{"a":{"b":[1,{}]},"c":"},{"}', b'"},{,"', b"[{},{},[{}],{}]", b'{"a":"\\ud800"}', b'"\xff"', b"0"],
)
def test_a_large_array_is_split_part_by_part(member: bytes, comma: bytes) -> None:
    """Wherever a part ends: commas inside of members are no ends of them."""
    members = [b'"first"'] + [member] * (1_000_000 // len(member)) + [b'"last"']
    parts = list(codec.split_array(b"[" + comma.join(members) + b"]"))
    assert max(map(len, parts)) < len(members)
    assert [each for part in parts for each in part] == members


@pytest.mark.parametrize("end", [b"", b",]", b"]]", b",", b",,1]", b" 1]", b"}", b",NaN]", b'"]'])
def test_a_large_array_that_does_not_end_is_no_array(end: bytes) -> None:
    """Also where all of its first parts are in order."""
    with pytest.raises(codec.SplitError) as error:
        list(codec.split_array(b"[" + b",".join([b'{"a":1}'] * 50_000) + end))
    assert error.value.rejection.reason is Reason.NOT_JSON


@pytest.mark.parametrize("body", [b"[1", b"[1,]", b"[1 2]", b"[1]]", b"[NaN]", b'["\\ud800"', b"[,1]"])
def test_what_is_no_array_is_rejected_as_a_whole(body: bytes) -> None:
    """If the members cannot be told apart, the body as a whole is not JSON."""
    with pytest.raises(codec.SplitError) as error:
        list(codec.split_array(body))
    assert error.value.rejection.reason is Reason.NOT_JSON


def test_a_line_holds_one_event() -> None:
    """Two objects on a line, or one over two lines, are not NDJSON."""
    twice = raw() + raw()
    assert codec.decode_lines([twice]) is None
    assert rejected(twice)[1] is Reason.NOT_JSON
    assert codec.decode_lines([raw()[:20], raw()[20:]]) is None


def test_a_clock_record_is_a_log_entry() -> None:
    """It is compact JSON that the contract's own model reads."""
    entry = codec.encode_clock(Clock(kind="clock", stream_time=1_782_120_600_000, source="wall"))
    assert entry == b'{"kind":"clock","v":1,"stream_time":1782120600000,"source":"wall"}'
    assert LOG_ENTRY.validate_json(entry).kind == "clock"


def test_the_structs_have_the_fields_of_the_models() -> None:
    """They are derived, so nothing can be forgotten when the contract grows."""
    for kind, model in MODELS.items():
        names = [name for name in model.model_fields if name != "kind"]
        assert [*STRUCTS[kind].__struct_fields__] == names
    assert derive(MODELS["interaction"]) is Interaction
