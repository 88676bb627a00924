"""A vocabulary decodes what the ordinary decoder does, whatever it has learned before."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregate import vocabulary
from services.aggregate.decode import Entry, Interaction, decode_record
from services.aggregate.vocabulary import Vocabulary

# Few names, so that some are known; what no decoder may take, and what only looks like another name.
names = st.sampled_from(
    ["GansuTravel", "gansutravel", "", "文化和自然遗产日", "\U0001f600", "1", 'a\\b"c', "null"]
)
maybe = st.one_of(names, st.none(), st.just(5), st.text(max_size=3))
events = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["interaction"] * 8 + ["post", "broadcast", "clock", "other"]),
        "v": st.sampled_from([1] * 9 + [2]),
        "event_id": st.text(min_size=1, max_size=3),
        "occurred_at": st.one_of(st.integers(1, 2**63 - 1), st.just(0)),
        "platform": names,
        "account": names,
        "action": st.sampled_from(["like", "unlike", "like", "dance"]),
    },
    optional={
        "quantity": st.integers(0, 3),
        "post_id": maybe,
        "broadcast_id": maybe,
        "hashtags": st.one_of(st.none(), st.lists(maybe, max_size=3)),
        "campaign": maybe,
        "post_format": st.sampled_from(["live", None, "scroll"]),
        "actor": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {"id": names},
                optional={"country": maybe, "verified": st.sampled_from([True, False, None, 1])},
            ),
        ),
        "phase": st.just("started"),
        "present": st.integers(1, 9),
        "unknown": maybe,
    },
)
records = st.one_of(
    st.lists(events, max_size=4).map(lambda entries: json.dumps(entries, ensure_ascii=False).encode()),
    st.lists(events, max_size=4).map(lambda entries: json.dumps(entries).encode()),  # names as \\u escapes
    events.map(lambda entry: json.dumps(entry).encode()),
    st.binary(max_size=20),
)


def plain(entries: list[Entry]) -> list[tuple[str, Any]]:
    return [(type(entry).__name__, msgspec.to_builtins(entry)) for entry in entries]


@pytest.mark.parametrize("most_names", [2, 5_000])
@given(st.lists(records, max_size=12))
@settings(max_examples=120, deadline=None)
def test_it_decodes_as_ever(most_names: int, log: list[bytes]) -> None:
    """The same entries, and the same complaints, also where a field has more names than it keeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "MOST_NAMES", most_names)
        known = Vocabulary()
        for data in [*log, *log]:
            entries, bad = known.decode(data)
            expected, expected_bad = decode_record(data)
            assert plain(entries) == plain(expected)
            assert bad == expected_bad


def interaction(**fields: Any) -> bytes:
    event = {"kind": "interaction", "v": 1, "event_id": "1", "occurred_at": 1_782_120_600_000}
    event |= {"platform": "twitter", "account": "GansuTravel", "action": "like"}
    return json.dumps([event | fields]).encode()


def decoded(known: Vocabulary, data: bytes) -> Interaction:
    [entry], bad = known.decode(data)
    assert isinstance(entry, Interaction)
    assert bad == []
    return entry


def test_names_are_one_object_each() -> None:
    """That is what it is for; a name that comes later is learned, too."""
    known = Vocabulary()
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
    known = Vocabulary()
    known.decode(interaction())
    assert decoded(known, interaction()).__struct_fields__ == Interaction.__struct_fields__


def test_a_field_with_too_many_names_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hashtag for each event would make a new decoder again and again, and never one that fits."""
    monkeypatch.setattr(vocabulary, "MOST_NAMES", 20)
    made = []
    decoder = vocabulary._decoder
    monkeypatch.setattr(vocabulary, "_decoder", lambda names: made.append(1) or decoder(names))
    known = Vocabulary()
    for number in range(1_000):
        entry = decoded(known, interaction(hashtags=[f"tag{number}"]))
        assert entry.hashtags == (f"tag{number}",)
    assert 1 < len(made) < 30
    assert decoded(known, interaction()).account is decoded(known, interaction()).account
