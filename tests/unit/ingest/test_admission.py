"""Admission: bodies in all their shapes, told apart into good and bad events."""

from __future__ import annotations

import json
from collections import deque
from itertools import islice
from typing import Any

import pytest

from schemas.log import MAX_CLOCK_AHEAD_MS
from schemas.reasons import Reason, Rejection
from services.ingest.pipeline.admission import (
    MAX_EVENT_BYTES,
    MAX_EVENT_COMMAS,
    SLICE_BYTES,
    SLICE_EVENTS,
    Admitted,
    Raws,
    TooManyEventsError,
    admit_at_once,
    admit_in_slices,
    members,
    split,
)
from services.ingest.pipeline.stream_time import EventStreamTime, FutureTimestampCheck, WallStreamTime

NOW = 1_782_120_600_000


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "interaction", "event_id": f"e{number}", "occurred_at": NOW + number, "platform": "twitter",
        "account": "GansuTravel", "action": "like", **changes,
    }  # fmt: skip


def check() -> FutureTimestampCheck:
    return WallStreamTime(lambda: NOW, ahead_ms=1000).check()


def split_all(body: bytes, *, lines: bool = False, most: int = 100) -> Raws | Rejection:
    """The events as they were sent, once all slices of splitting are done."""
    slices = split(body, lines=lines, most=most)
    while True:
        try:
            next(slices)
        except StopIteration as done:
            found: Raws | Rejection = done.value
            return found


def admit_all(
    body: bytes, *, lines: bool = False, most: int = 100, check: FutureTimestampCheck
) -> Admitted | Rejection:
    """At once, or slice by slice to the end."""
    at_once = admit_at_once(body, lines=lines, most=most, check=check)
    if at_once is not None:
        return at_once
    raws = split_all(body, lines=lines, most=most)
    if isinstance(raws, Rejection):
        return raws
    slices = list(admit_in_slices(raws, check))
    return Admitted(
        [event for each in slices for event in each.events],
        [index for each in slices for index in each.indexes],
        [rejected for each in slices for rejected in each.rejected],
    )


def admitted(body: bytes, *, lines: bool = False, most: int = 100) -> Admitted:
    found = admit_all(body, lines=lines, most=most, check=check())
    assert isinstance(found, Admitted), found
    return found


def ids(found: Admitted) -> list[str]:
    return [each.event_id for each in found.events]


def ndjson(*events: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in events)


@pytest.mark.parametrize(
    ("body", "lines", "count"),
    [
        (json.dumps(event(0)).encode(), False, 1),
        (json.dumps(event(0), indent=2).encode(), False, 1),
        (json.dumps([event(0), event(1)], indent=2).encode(), False, 2),
        (b" \n[]", False, 0),
        (ndjson(event(0), event(1)), True, 2),
        (b"\r\n" + ndjson(event(0), event(1)).replace(b"\n", b"\r\n\r\n") + b"\r\n", True, 2),
        (ndjson(event(0), event(1)), False, 2),
        (ndjson(event(0)), True, 1),
    ],
)
def test_every_shape_of_body_is_understood(body: bytes, lines: bool, count: int) -> None:
    """One object, an array, NDJSON, and NDJSON that is called JSON."""
    found = admitted(body, lines=lines)
    assert ids(found) == [f"e{n}" for n in range(count)]
    assert list(found.indexes) == list(range(count))
    assert not found.rejected
    assert len(members(body, lines=lines)) == count


def test_the_good_events_of_a_batch_go_through() -> None:
    """A rejected event has its index and its bytes as sent; the others keep their order."""
    bad = b'{ "kind" : "interaction" }'
    body = b"[" + json.dumps(event(0)).encode() + b", " + bad + b"," + json.dumps(event(2)).encode() + b"]"
    found = admitted(body)
    assert (ids(found), found.indexes) == (["e0", "e2"], [0, 2])
    assert [(each.index, each.raw, each.rejection.reason) for each in found.rejected] == [
        (1, bad, Reason.MISSING_FIELD)
    ]


def test_a_bad_line_does_not_spoil_its_neighbours() -> None:
    """Whatever is on it: lines are validated one by one."""
    lines = [json.dumps(event(0)).encode(), b"{", b'{"a":NaN}', b"\xff", b"[]", json.dumps(event(5)).encode()]
    found = admitted(b"\n".join(lines), lines=True)
    assert ids(found) == ["e0", "e5"]
    reasons = [each.rejection.reason for each in found.rejected]
    assert reasons == [Reason.NOT_JSON, Reason.NOT_JSON, Reason.NOT_UTF8, Reason.NOT_AN_OBJECT]
    assert [each.raw for each in found.rejected] == lines[1:5]


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"[{},]", False), (b"{", False), (b"nonsense", False), (b"[" * 100_000, False), (b" \n ", True),
        (b"{\n}}", False), (b"{}}\n{}", False),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_split_is_rejected_as_a_whole(body: bytes, lines: bool) -> None:
    """There is not an event to point at."""
    found = admit_all(body, lines=lines, most=10, check=check())
    assert isinstance(found, Rejection)
    assert found.reason in (Reason.NOT_JSON, Reason.TOO_DEEP)


def test_a_body_that_is_one_bad_event_is_that_event() -> None:
    """JSON, but no event: it has index 0 and its reason."""
    assert [each.rejection.reason for each in admitted(b" 42 ").rejected] == [Reason.NOT_AN_OBJECT]
    assert [each.raw for each in admitted(b" {} ").rejected] == [b"{}"]


@pytest.mark.parametrize("lines", [False, True])
def test_too_many_events_are_rejected(lines: bool) -> None:
    """The limit itself is allowed, one more is not."""
    body = ndjson(*map(event, range(3)))
    body = body if lines else b"[" + body.replace(b"\n", b",") + b"]"
    assert len(admitted(body, lines=lines, most=3).events) == 3
    with pytest.raises(TooManyEventsError):
        admitted(body, lines=lines, most=2)


def test_a_body_of_nothing_but_commas_is_rejected_before_it_is_taken_apart() -> None:
    """Millions of tiny members would need a hundred times the memory of the body."""
    with pytest.raises(TooManyEventsError):
        admitted(b"[" + b"0," * 300_000 + b"0]")
    with pytest.raises(TooManyEventsError):
        admitted(b"\n" * 300_000, lines=True)


def test_commas_of_a_text_are_no_events() -> None:
    """One event with a long title is one event, whatever the limit."""
    title = "," * 300
    broadcast = event(0, kind="broadcast", broadcast_id="fuxi-2026", phase="started", title=title)
    del broadcast["action"]
    assert ids(admitted(json.dumps([broadcast]).encode(), most=1)) == ["e0"]


@pytest.mark.parametrize("bad", [b"{}", b"0", b'"' + b"x" * 50_000 + b'"'], ids=["object", "number", "text"])
@pytest.mark.parametrize("lines", [False, True])
def test_a_body_with_a_bad_event_is_validated_in_slices(bad: bytes, lines: bool) -> None:
    """No slice has more events, or many more bytes, than stated; together they are the whole body."""
    count = 500
    body = b"\n".join([bad] * count) if lines else b"[" + b",".join([bad] * count) + b"]"
    raws = split_all(body, lines=lines, most=count)
    assert not isinstance(raws, Admitted | Rejection)
    slices = list(admit_in_slices(raws, check()))
    assert max(len(each.rejected) for each in slices) <= SLICE_EVENTS
    assert max(sum(len(one.raw) for one in each.rejected) for each in slices) < SLICE_BYTES + MAX_EVENT_BYTES
    assert [one.index for each in slices for one in each.rejected] == list(range(count))


@pytest.mark.parametrize("lines", [False, True])
def test_a_large_body_is_validated_in_slices_though_it_is_good(lines: bool) -> None:
    """The events are those of the body, in order."""
    count = 2000
    encoded = [json.dumps(event(0, event_id=f"e{number}")).encode() for number in range(count)]
    body = b"\n".join(encoded) if lines else b"[" + b",".join(encoded) + b"]"
    raws = split_all(body, lines=lines, most=count)
    assert not isinstance(raws, Admitted | Rejection)
    assert len(list(admit_in_slices(raws, check()))) == count / SLICE_EVENTS
    assert ids(admitted(body, lines=lines, most=count)) == [f"e{number}" for number in range(count)]


def test_an_event_that_is_too_large_is_not_looked_into() -> None:
    """Nothing that large can be good, and to find out why would take long."""
    large = b'{"kind":[' + b"0," * MAX_EVENT_BYTES + b"0]}"
    found = admitted(b"[" + json.dumps(event(0)).encode() + b"," + large + b"]", most=10_000)
    assert ids(found) == ["e0"]
    assert [each.rejection.reason for each in found.rejected] == [Reason.TOO_LARGE]
    assert [each.rejection.reason for each in admitted(large).rejected] == [Reason.TOO_LARGE]


def test_an_event_too_far_ahead_of_the_wall_clock_is_rejected() -> None:
    """At the bound it is accepted; one with a wrong date does not take the rest with it."""
    batch = [event(0), event(1000), event(1001), event(-(10**9))]
    found = admitted(json.dumps(batch).encode())
    assert ids(found) == ["e0", "e1000", "e-1000000000"]
    assert [(each.index, each.rejection.field, each.rejection.reason) for each in found.rejected] == [
        (2, "occurred_at", Reason.AHEAD_OF_CLOCK)
    ]


def test_with_the_event_clock_the_first_event_sets_the_present() -> None:
    """And each accepted event moves the bound for those after it, in the same request too."""
    stream_time = EventStreamTime(lambda: NOW + 10**9, ahead_ms=1000)
    batch = [event(0), event(900), event(1800), event(5000), event(2800), event(-99_999)]
    check = stream_time.check()
    found = admit_all(json.dumps(batch).encode(), most=10, check=check)
    assert isinstance(found, Admitted)
    assert found.indexes == [0, 1, 2, 4, 5]
    assert stream_time.now() is None, "until the events are handed over"
    stream_time.saw(check.newest)
    assert stream_time.now() == NOW + 2800


def test_with_the_event_clock_no_event_is_of_a_time_to_come() -> None:
    """Neither the first one nor those that move the bound: nobody would obey a clock record of that time."""
    most = MAX_CLOCK_AHEAD_MS // 2
    stream_time = EventStreamTime(lambda: NOW, ahead_ms=10**9)
    batch = [event(10**12), event(most + 1), event(0), event(most), event(most + 1)]
    found = admit_all(json.dumps(batch).encode(), most=10, check=stream_time.check())
    assert isinstance(found, Admitted)
    assert found.indexes == [2, 3]
    stream_time.saw(NOW)
    for later, indexes in ((most + 1, []), (most, [0])):
        assert stream_time.check().admits(NOW + later) == bool(indexes)
        found = admit_all(json.dumps([event(later)]).encode(), most=10, check=stream_time.check())
        assert isinstance(found, Admitted)
        assert list(found.indexes) == indexes


@pytest.mark.parametrize("times", [[0, 900, 1800, 2000], [1800, 0, 900], [0], []])
def test_the_quick_check_of_times_agrees_with_the_one_by_one(times: list[int]) -> None:
    """Whether all are within the bound at once is asked first; the answer is the same."""
    stream_time = EventStreamTime(lambda: NOW + 10**9, ahead_ms=1000)
    stream_time.saw(NOW)
    whole, single = stream_time.check(), stream_time.check()
    body = json.dumps([event(time) for time in times]).encode()
    found = admit_all(body, most=10, check=whole)
    assert isinstance(found, Admitted)
    accepted = [time for time in times if single.admits(NOW + time)]
    assert ids(found) == [f"e{time}" for time in accepted]
    assert whole.newest == single.newest


def test_the_present_never_goes_back() -> None:
    """Neither when the wall clock is set back, nor with an older event."""
    readings = iter([NOW, NOW - 5000, NOW + 1])
    wall = WallStreamTime(lambda: next(readings), ahead_ms=0)
    assert [wall.now() for _ in range(3)] == [NOW, NOW, NOW + 1]
    events = EventStreamTime(lambda: NOW + 10**9, ahead_ms=0)
    events.saw(NOW)
    events.saw(NOW - 1)
    events.saw(None)
    assert events.now() == NOW


def test_a_large_array_with_a_lone_surrogate_is_split_bit_by_bit() -> None:
    """The good events of it are accepted; if it is broken further on, it is rejected as a whole."""
    count = 1000
    encoded = [json.dumps(event(number, event_id=f"e{number}")).encode() for number in range(count)]
    encoded[7] = json.dumps(event(7, account="\ud800")).encode()
    body = b"[" + b",".join(encoded) + b"]"
    found = admitted(body, most=count)
    assert ids(found) == [f"e{number}" for number in range(count) if number != 7]
    assert [each.index for each in found.rejected] == [7]
    for broken in (body[:-1], body + b"]", body.replace(b'},{"kind"', b'} {"kind"', 500)):
        assert isinstance(split_all(broken, most=count), Rejection)
    with pytest.raises(TooManyEventsError):
        split_all(body, most=count - 1)


def test_a_body_with_millions_of_members_is_split_no_further_than_to_the_limit() -> None:
    """It is rejected in its first slices: each of them holds few members."""
    slices = split(b"[" + b",".join([b'"aa"'] * 1_500_000) + b"]", lines=False, most=20_000)
    with pytest.raises(TooManyEventsError):
        deque(islice(slices, 20), maxlen=0)


def test_an_event_with_more_commas_than_any_is_not_looked_into() -> None:
    """Each of its members would take long; it is within the bytes that an event may have."""
    many = json.dumps(event(1, x=[{}] * 60_000)).encode().replace(b" ", b"")
    assert many.count(b",") > MAX_EVENT_COMMAS
    assert len(many) < MAX_EVENT_BYTES
    for body in (many, b"[" + many + b"]"):
        assert [each.rejection.reason for each in admitted(body).rejected] == [Reason.TOO_LARGE]


def test_slices_know_of_the_slices_before() -> None:
    """The newest event of a request is that of all slices, and moves the bound for those after it."""
    stream_time = EventStreamTime(lambda: NOW + 10**9, ahead_ms=1000)
    stream_time.saw(NOW)
    times = [900] * SLICE_EVENTS + [1800] * SLICE_EVENTS + [0] * SLICE_EVENTS
    raws = [json.dumps(event(time)).encode() for time in times]
    check = stream_time.check()
    slices = list(admit_in_slices(raws, check))
    assert [len(each.events) for each in slices] == [SLICE_EVENTS] * 3
    assert check.newest == NOW + 1800
