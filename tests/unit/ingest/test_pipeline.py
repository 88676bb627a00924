"""The pipeline alone: from the bytes of a request to what is to be written, without a loop or a broker."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest

from schemas.dead_letter import DeadLetter, read_dead_letter
from schemas.hashtags import AliasTable
from schemas.reasons import Reason
from services.ingest.pipeline.admission import TooManyEventsError
from services.ingest.pipeline.enrichment import Enrichment
from services.ingest.pipeline.known_posts import KnownPosts
from services.ingest.pipeline.packing import RecordLimits
from services.ingest.pipeline.pipeline import Pipeline, Processed
from services.ingest.pipeline.pseudonyms import Pseudonymizer
from services.ingest.pipeline.stream_time import EventStreamTime

NOW = 1_782_120_600_000
EVENT = {
    "kind": "interaction", "event_id": "e", "occurred_at": NOW, "platform": "twitter",
    "account": "GansuTravel", "action": "like",
}  # fmt: skip
POST = {
    "kind": "post", "event_id": "p", "occurred_at": NOW, "platform": "twitter", "account": "GansuTravel",
    "post_id": "P", "hashtags": ["#a"],
}  # fmt: skip


def pipeline(stream_time: EventStreamTime | None = None) -> Pipeline:
    return Pipeline(
        Enrichment(KnownPosts(1000), AliasTable(), Pseudonymizer((), None)),
        stream_time or EventStreamTime(lambda: NOW + 10**9, 1000),
        record_limits=RecordLimits(100, 2000),
        max_events=50,
        partitions=lambda: 4,
        wall_ms=lambda: 7,
    )


def finished(steps: Generator[None, None, Processed]) -> Processed:
    """The result of all steps."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            processed: Processed = done.value
            return processed


def process(*events: Any, lines: bool = False) -> Processed:
    encoded = [json.dumps(event).encode() for event in events]
    body = b"\n".join(encoded) if lines else b"[" + b",".join(encoded) + b"]"
    return finished(pipeline().process(body, lines=lines, source="s"))


def entries(processed: Processed) -> list[Any]:
    return [entry for each in processed.request.fragments for entry in json.loads(b"[" + each.data + b"]")]


def dead_letters(processed: Processed) -> list[DeadLetter]:
    found = [read_dead_letter(each) for each in processed.request.dead_letters]
    return [each for each in found if each]


@pytest.mark.parametrize("lines", [False, True])
def test_a_request_becomes_one_publish_request(lines: bool) -> None:
    """Good events as fragments, posts with their key, bad events as dead letters; counted by kind."""
    processed = process(POST, EVENT, {}, lines=lines)
    assert sorted(entry["event_id"] for entry in entries(processed)) == ["e", "p"]
    assert [post.key for post in processed.request.posts] == [b'["twitter","P"]']
    assert [(each.index, each.raw, each.received_at, each.source) for each in dead_letters(processed)] == [
        (2, b"{}", 7, "s")
    ]
    assert processed.outcome.accepted == {"post": 1, "interaction": 1}
    assert [(each.index, each.rejection.reason) for each in processed.outcome.rejected] == [
        (2, Reason.MISSING_FIELD)
    ]
    assert processed.outcome.unreadable is None
    assert processed.newest == NOW


def test_single_events_are_processed_as_one_request() -> None:
    """The result is that of an array of the same events."""
    bodies = [json.dumps(EVENT | {"event_id": f"e{number}"}).encode() for number in range(20)]
    stream_time = EventStreamTime(lambda: NOW + 10**9, 1000)
    stream_time.saw(NOW)
    singles = pipeline(stream_time).process_singles(bodies)
    array = finished(pipeline(stream_time).process(b"[" + b",".join(bodies) + b"]", lines=False, source="s"))
    assert singles is not None
    assert list(singles.request.fragments) == list(array.request.fragments)
    assert (singles.outcome, singles.newest) == (array.outcome, array.newest)
    assert not [*array.request.posts, *singles.request.posts, *array.request.dead_letters]
    assert len(entries(array)) == 20
    assert pipeline(stream_time).process_singles([*bodies, b"{}"]) is None


@pytest.mark.parametrize("body", [b"", b" \n", b"\xef\xbb\xbf", b"no json", b"[1"])
def test_an_unreadable_body_is_one_dead_letter(body: bytes) -> None:
    """Nothing is accepted, and the outcome says why."""
    processed = finished(pipeline().process(body, lines=False, source="s"))
    assert processed.outcome.unreadable
    assert processed.outcome.unreadable.reason is Reason.NOT_JSON
    assert (processed.outcome.accepted, processed.request.fragments) == ({}, ())
    assert [each.index for each in dead_letters(processed)] == [-1]


def test_processing_moves_no_stream_time() -> None:
    """Only what the publisher has taken may do that: the event time is handed on."""
    stream_time = EventStreamTime(lambda: NOW + 10**9, 1000)
    processed = finished(pipeline(stream_time).process(json.dumps(EVENT).encode(), lines=False, source="s"))
    assert (stream_time.now(), processed.newest) == (None, NOW)


def test_too_many_events_are_an_error_and_nothing_is_made_of_them() -> None:
    """The sender is to send them in parts."""
    with pytest.raises(TooManyEventsError):
        process(*[EVENT] * 51)


@pytest.mark.parametrize(
    "body", [b'[{"actor":{"id":"8841-li"}}]', b'{"actor":{"id":"8841-li"}', b'{"actor":{"id":"8841-li"}}']
)
def test_dead_letters_do_not_say_who_acted(body: bytes) -> None:
    """Of a member, of an event by itself, and of a body that is no JSON."""
    actors = Pseudonymizer((), b"a key of the tests")
    made = Pipeline(
        Enrichment(KnownPosts(1000), AliasTable(), actors),
        EventStreamTime(lambda: NOW + 10**9, 1000),
        record_limits=RecordLimits(100, 2000),
        max_events=50,
        partitions=lambda: 4,
        wall_ms=lambda: 7,
    )
    (dead_letter,) = dead_letters(finished(made.process(body, lines=False, source="s")))
    assert b"actor" in dead_letter.raw
    assert b"8841" not in dead_letter.raw + str(dead_letter.raw_text).encode()
