"""The fast way and the slow way of the codec give the same result: the same event, or the same rejection."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from schemas import codec
from schemas.events import LOG_ENTRY, MODELS, SUBMISSION
from schemas.reasons import Rejection
from schemas.validation import validate

ODD_TEXTS = st.one_of(
    st.text(min_size=1, max_size=12),
    st.sampled_from(
        ["", " a", "a ", "@", "#", "é", "e\u0301", "Ａ", "ſ", "İ", "\x00", "\x7f", "\x80", "\u2028", "\ud800"]
    ),
    st.sampled_from(["\U0001f600", "x" * 200, "x" * 201, "x" * 199 + "e\u0301", "x" * 40, "x" * 41, '"']),
)


def often(*usual: Any) -> st.SearchStrategy[Any]:
    """Mostly one of the usual values, so that an event with many fields is accepted often enough."""
    return st.integers(0, 19).flatmap(lambda n: ODD_TEXTS if n == 0 else st.sampled_from(usual))


IDS = often("a", "a:b", "tw-1", "é", "e\u0301", "\\u003a", "\U0001f600", "x" * 200)
TAG = often("#Tag", "＃标签", "tag", "Straße", "e\u0301", "a:b")
TIMES = st.one_of(
    st.integers(946_684_800_000, 4_102_444_799_999),
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(lambda moment: f"{moment.isoformat()}Z"),
    st.sampled_from(["2016-12-31T23:59:60Z"]),
    st.sampled_from(["2026-06-22 09:30:00.5+08:00", "2026-06-22t09:30:00.12399-01:00"]),
)
ODD_TIMES = st.one_of(
    st.integers(946_684_799_990, 946_684_800_010),
    st.integers(4_102_444_799_990, 4_102_444_800_010),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    st.from_regex(
        r"(20\d\d|1999|2100)-[01]\d-[0-3]\d[Tt ]"
        r"[012]\d:[0-5]\d:[0-6]\d(\.\d{1,10})?([Zz]|[+-][012]\d:[0-6]\d)",
        fullmatch=True,
    ),
    st.sampled_from(["1999-12-31T23:59:59Z", "2026-06-22T09:30:0٣Z", "2099-12-31T23:59:59-00:01"]),
)
NASTY: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(allow_nan=False), ODD_TEXTS, ODD_TIMES,
    st.sampled_from([10**9, 10**9 + 1, 10**15, 10**15 + 1, 2**63, 2**64, 10**400, -(10**400), 1.0, 1e300]),
    st.lists(ODD_TEXTS, max_size=4), st.lists(st.integers(), max_size=2), st.just([["a"]]),
    st.dictionaries(ODD_TEXTS, st.integers(), max_size=2),
    st.lists(st.sampled_from(["a", "b"]), min_size=49, max_size=52),
)  # fmt: skip
NAMES = often("Bob", "李娜", "e\u0301", "a\u200db") | st.none()
ACTORS = st.fixed_dictionaries(
    {"id": IDS},
    optional={
        "country": often("CN", "cn", "de") | st.none(),
        "verified": st.booleans() | st.none(),
        "name": NAMES,
    },
)
COMMON = {
    "event_id": IDS,
    "occurred_at": TIMES,
    "platform": often("twitter", "Twitter", "x.y_z-1"),
    "account": often("GansuTravel", "@GansuTravel", "甘肃"),
}
TAGS = st.lists(TAG, max_size=4) | st.none()
FORMATS = st.sampled_from(["graphic", "link", "video", "live"]) | st.none()
EVENTS = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.just("interaction"), **COMMON, "action": st.sampled_from(["like", "unfollow"])},
        optional={
            "v": st.just(1), "quantity": st.integers(1, 3), "post_id": IDS | st.none(), "hashtags": TAGS,
            "broadcast_id": IDS, "campaign": IDS, "post_format": FORMATS, "actor": ACTORS | st.none(),
        },
    ),
    st.fixed_dictionaries(
        {"kind": st.just("post"), **COMMON, "post_id": IDS},
        optional={
            "format": FORMATS,
            "language": often("en", "zh-Hans"),
            "hashtags": TAGS,
            "campaign": IDS | st.none(),
        },
    ),
    st.fixed_dictionaries(
        {"kind": st.just("reading"), **COMMON, "metric": st.just("viewers"), "value": st.integers(0, 10**15)},
        optional={"post_id": IDS, "broadcast_id": IDS | st.none()},
    ),
    st.fixed_dictionaries(
        {"kind": st.just("broadcast"), **COMMON, "broadcast_id": IDS, "phase": st.just("ended")},
        optional={"title": NAMES, "campaign": IDS, "hashtags": TAGS},
    ),
)  # fmt: skip
FIELDS = sorted({name for model in MODELS.values() for name in model.model_fields} | {"x"})


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An event, good or broken: values exchanged, fields gone, keys twice, bytes broken."""
    event = draw(EVENTS)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        name = draw(st.sampled_from(FIELDS))
        match draw(st.sampled_from(["set", "drop", "actor"])):
            case "set":
                event = event | {name: draw(NASTY)}
            case "drop":
                event = {key: value for key, value in event.items() if key != name}
            case _:
                wrong = draw(st.sampled_from(["id", "name", "country", "verified", "z"]))
                event = event | {"actor": draw(ACTORS) | {wrong: draw(NASTY)}}
    escape = draw(st.booleans())
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]))
    body = json.dumps(event, ensure_ascii=escape, separators=separators).encode("utf-8", "surrogatepass")
    match draw(st.sampled_from(["whole", "whole", "whole", "again", "cut", "byte", "colon"])):
        case "again":
            name = draw(st.sampled_from(FIELDS))
            body = body[:-1] + f',"{name}":{json.dumps(draw(NASTY))}}}'.encode()
        case "cut":
            body = body[: draw(st.integers(0, len(body)))]
        case "byte":
            at = draw(st.integers(0, len(body) - 1))
            body = body[:at] + bytes([draw(st.integers(0, 255))]) + body[at + 1 :]
        case "colon":
            body = body.replace(b"a", b"\\u003a") + draw(st.sampled_from([b"", b" ", b"\n", b"\x00", b"{}"]))
    return body


@settings(max_examples=1500)
@given(bodies())
@example(b'{"kind":"reading","event_id":"a","occurred_at":"2016-12-31T23:59:60Z","platform":"x","account":"a","metric":"reads","value":1}')  # fmt: skip # noqa: E501
def test_both_ways_give_the_same_result(body: bytes) -> None:
    """Alone, in an array and on a line, an event is accepted as the same, or rejected for the same reason."""
    slow = validate(body)
    assert codec.decode_one(body) == slow
    for together in (codec.decode_batch(b"[" + body + b"," + body + b"]"), codec.decode_lines([body, body])):
        # None leaves the decision to decode_one; anything else must be what the slow way says.
        assert together is None or together == [slow, slow]


@settings(max_examples=500)
@given(bodies())
def test_no_text_of_an_event_is_shorter_than_its_encoding(body: bytes) -> None:
    """So a body that is no longer than its encoding cannot have a key twice."""
    try:
        event = codec._decode_one(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        reject()
    assert len(codec.encode(event)) <= len(body)


@settings(max_examples=500)
@given(bodies())
def test_what_is_accepted_satisfies_the_contract_and_stays_as_it_is(body: bytes) -> None:
    """pydantic accepts the sent event; the entry of the log is valid, and is in normal form already."""
    event = codec.decode_one(body)
    if isinstance(event, Rejection):
        reject()
    SUBMISSION.validate_json(body)
    entry = codec.encode(event)
    assert codec.decode_one(entry) == event
    model = LOG_ENTRY.validate_json(entry)
    assert model == SUBMISSION.validate_json(body)
    assert model.model_dump(exclude_defaults=True, mode="json") | {"v": 1} == json.loads(entry)


@settings(max_examples=300)
@given(EVENTS, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]))
def test_a_good_event_goes_the_fast_way(event: dict[str, Any], separators: tuple[str, str]) -> None:
    """In an array and on a line, whatever the blanks; only an escaped colon needs the slow way."""
    body = json.dumps(event, ensure_ascii=False, separators=separators).encode("utf-8", "surrogatepass")
    accepted = validate(body)
    if isinstance(accepted, Rejection) or b"u003a" in body:
        reject()
    assert codec.decode_batch(b"[" + body + b"]") == [accepted]
    assert codec.decode_lines([body]) == [accepted]


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=6), st.sampled_from([b",", b" ,", b",\r\n"]))
def test_an_array_is_split_into_its_members(events: list[dict[str, Any]], comma: bytes) -> None:
    """Joined by commas they are the body again, lone surrogates and all."""
    members = [json.dumps(event).encode() for event in events]
    found = codec.split_array(b"[" + comma.join(members) + b"]")
    assert [each for part in found for each in part] == members
