"""A vocabulary decodes what the ordinary decoder does, whatever it has learned before."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.log import Entry, Interaction
from services.aggregate.counting import interning
from services.aggregate.counting.decode import decode_record
from services.aggregate.counting.interning import InterningDecoder

# Few names, so that most are known after some records, and some that only look like others.
NAMES = ["GansuTravel", "gansutravel", "文化和自然遗产日", "\U0001f600", "1", 'a\\b"c', "null"]
names = st.sampled_from(NAMES)
ODD: list[Any] = [
    "",
    None,
    5,
    True,
    [],
    {},
    "new",
    ["GansuTravel"],
    [None],
    [5],
    {"country": 5},
    {"country": ""},
]
good = st.fixed_dictionaries(
    {
        "kind": st.just("interaction"),
        "v": st.just(1),
        "event_id": st.text(min_size=1, max_size=3),
        "occurred_at": st.integers(1, 2**63 - 1),
        "platform": names,
        "account": names,
        "action": st.sampled_from(["like", "unlike"]),
    },
    optional={
        "quantity": st.integers(1, 3),
        "post_id": names,
        "broadcast_id": names,
        "hashtags": st.lists(names, max_size=3),
        "campaign": names,
        "post_format": st.just("live"),
        "actor": st.fixed_dictionaries({"id": names}, optional={"country": names, "verified": st.booleans()}),
        "unknown": names,
    },
)
FIELDS = [
    "v", "event_id", "occurred_at", "platform", "account", "action", "quantity", "post_id", "broadcast_id",
    "hashtags", "campaign", "post_format", "actor",
]  # fmt: skip
# One odd field at a time: nothing else must be what an event is refused for.
odd = st.tuples(good, st.sampled_from(FIELDS), st.sampled_from(ODD)).map(
    lambda drawn: drawn[0] | {drawn[1]: drawn[2]}
)
others = st.sampled_from(
    [
        {"kind": "clock", "v": 1, "stream_time": 5, "source": "wall"},
        {"kind": "reading", "event_id": "r", "occurred_at": 5, "platform": "x", "account": "y"}
        | {"metric": "reads", "value": 3},
        {"kind": "post", "event_id": "p", "occurred_at": 5, "platform": "x", "account": "y", "post_id": "z"},
        {"kind": "other"},
    ]
)  # fmt: skip
events = st.one_of(good, good, odd, others)
records = st.one_of(
    st.lists(events, max_size=4).map(lambda entries: json.dumps(entries, ensure_ascii=False).encode()),
    st.lists(events, max_size=4).map(lambda entries: json.dumps(entries).encode()),  # names as \\u escapes
    events.map(lambda entry: json.dumps(entry).encode()),
    st.binary(max_size=20),
)


TAUGHT = [
    json.dumps(
        [
            {"kind": "interaction", "v": 1, "event_id": "1", "occurred_at": 1, "action": "like"}
            | dict.fromkeys(["platform", "account", "post_id", "broadcast_id", "campaign"], name)
            | {"hashtags": [name], "actor": {"id": "x", "country": name}}
            for name in NAMES
        ]
    ).encode()
] * 20


def plain(entries: list[Entry]) -> list[tuple[str, Any]]:
    return [(type(entry).__name__, msgspec.to_builtins(entry)) for entry in entries]


@pytest.mark.parametrize("most_names", [2, 5_000])
@given(st.lists(records, max_size=12))
@settings(max_examples=120)
def test_it_decodes_as_ever(most_names: int, log: list[bytes]) -> None:
    """The same entries, and the same complaints, also where a field has more names than it keeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interning, "MOST_NAMES", most_names)
        known = InterningDecoder()
        for data in [*TAUGHT[: 2 * len(log)], *log, *log]:
            entries, bad = known.decode(data)
            expected, expected_bad = decode_record(data)
            assert plain(entries) == plain(expected)
            assert bad == expected_bad


def interaction(**fields: Any) -> bytes:
    event = {"kind": "interaction", "v": 1, "event_id": "1", "occurred_at": 1_782_120_600_000}
    event |= {"platform": "twitter", "account": "GansuTravel", "action": "like"}
    return json.dumps([event | fields]).encode()


def decoded(known: InterningDecoder, data: bytes) -> Interaction:
    [entry], bad = known.decode(data)
    assert isinstance(entry, Interaction)
    assert bad == []
    return entry


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_odd_is_judged_as_ever(field: str) -> None:
    """Each odd value in an event whose other names are all known."""
    known = InterningDecoder()
    for data in TAUGHT:
        known.decode(data)
    for value in ODD:
        data = json.dumps([json.loads(TAUGHT[0])[0] | {field: value}]).encode()
        entries, bad = known.decode(data)
        expected, expected_bad = decode_record(data)
        assert plain(entries) == plain(expected)
        assert bad == expected_bad


def test_names_are_one_object_each() -> None:
    """That is what it is for; a name that comes later is learned, too."""
    known = InterningDecoder()
    fields = {"post_id": "p1", "campaign": "fuxi-ceremony-2026", "hashtags": ["gansuheritage"]}
    for post_id in ("p1", "p1", "p2", "p2"):
        data = interaction(**fields | {"post_id": post_id}, actor={"id": "x", "country": "CN"})
        first, second = decoded(known, data), decoded(known, data)
    assert first.post_id == "p2"
    assert first.post_id is second.post_id
    assert first.account is second.account
    assert first.campaign is second.campaign
    assert first.hashtags is not None
    assert second.hashtags is not None
    assert first.hashtags[0] is second.hashtags[0]
    assert first.actor is not None
    assert second.actor is not None
    assert first.actor.country is second.actor.country


def test_fields_stay_in_the_order_of_the_log() -> None:
    """Rows of both decoders are columns of one table."""
    known = InterningDecoder()
    known.decode(interaction())
    assert decoded(known, interaction()).__struct_fields__ == Interaction.__struct_fields__


def test_a_field_with_too_many_names_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hashtag for each event would make a new decoder again and again, and never one that fits."""
    monkeypatch.setattr(interning, "MOST_NAMES", 20)
    made = []
    make = interning._decoder
    monkeypatch.setattr(interning, "_decoder", lambda names: made.append(1) or make(names))
    known = InterningDecoder()
    for number in range(1_000):
        entry = decoded(known, interaction(hashtags=[f"tag{number}"]))
        assert entry.hashtags == (f"tag{number}",)
    assert 1 < len(made) < 30
    assert decoded(known, interaction()).account is decoded(known, interaction()).account
