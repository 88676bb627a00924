"""`fanpulse dead-letters`: dead letters, redrive markers, and what a corrected mapping does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fanpulse.deadletters.redrive import Transform
from fanpulse.deadletters.snapshot import Choice, Overview, short_id, without_fields
from fanpulse.load.parsing.rules import parse_rules
from schemas.dead_letter import (
    MAX_RAW_BYTES,
    DeadLetter,
    RedriveMarker,
    encode_dead_letter,
    encode_marker,
    read_dead_letter,
    read_marker,
)
from schemas.reasons import Reason, Rejection
from services.aggregate.counting.decode import BadEntry
from services.aggregate.kafka.dead_letters import dead_letter as log_dead_letter

LIKE: dict[str, Any] = {
    "kind": "interaction", "event_id": "e1", "occurred_at": "2026-06-22T09:30:00Z", "platform": "twitter",
    "account": "GansuTravel", "action": "like",
}  # fmt: skip


def dead_letter(raw: bytes | dict[str, Any], reason: Reason = Reason.BAD_VALUE, **changes: Any) -> DeadLetter:
    """A dead letter as ingest writes it."""
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    rejection = Rejection("action", reason, "no such action")
    value = json.loads(
        encode_dead_letter(rejection, data, source="file:%E4%BC%8F.csv", received_at=7, index=3)
    )
    found = read_dead_letter(json.dumps(value | changes).encode())
    assert found
    return found


def test_a_dead_letter_of_ingest_is_read() -> None:
    """With the bytes that were sent, the size, and the source as a person writes it."""
    found = dead_letter(b'{"a":\xff}')
    assert (found.reason, found.field, found.index, found.received_at) == ("bad_value", "action", 3, 7)
    assert (found.raw, found.size, found.origin) == (b'{"a":\xff}', 7, "file:伏.csv")
    assert not found.is_of_log


def of_log(raw: bytes) -> DeadLetter:
    """A dead letter as the aggregator writes it."""
    entry = BadEntry(2, Reason.UNSUPPORTED_VERSION, "version", raw)
    found = read_dead_letter(log_dead_letter(entry, 3, 4711, 1.0))
    assert found
    return found


def test_a_dead_letter_of_the_aggregator_is_read() -> None:
    """It has the same fields, the log as its source, and its address in the log as its id."""
    found = of_log(b"{}")
    assert (found.is_of_log, found.raw, found.size, found.truncated) == (True, b"{}", 2, False)
    assert (found.id, found.partition, found.offset) == ("log-3-4711-2", 3, 4711)
    assert short_id(found.id) == "log-3-4711-2"
    assert Choice(reason="unsupported_version").takes(found)
    assert not Choice(of_log=False).takes(found)


@pytest.mark.parametrize("write", [dead_letter, of_log])
@pytest.mark.parametrize("more", [0, 1])
def test_every_writer_keeps_the_same_number_of_bytes_and_says_what_it_cut(
    write: Callable[[bytes], DeadLetter], more: int
) -> None:
    """Ingest and the aggregator alike state the full length, and whether bytes are missing."""
    found = write(b"x" * (MAX_RAW_BYTES + more))
    assert (found.size, len(found.raw), found.truncated) == (MAX_RAW_BYTES + more, MAX_RAW_BYTES, more > 0)


def test_markers_and_dead_letters_are_distinct() -> None:
    """Both live in the same topic; a reader never takes one for the other."""
    marker = RedriveMarker("ab" * 16, 7, accepted=False)
    record = encode_marker(marker)
    assert read_marker(record) == marker
    assert read_dead_letter(record) is None
    assert (
        read_marker(
            encode_dead_letter(Rejection("", Reason.NOT_JSON, ""), b"x", source="s", received_at=1, index=0)
        )
        is None
    )


@pytest.mark.parametrize("value", [None, b"", b"{}", b"not json", b"\xff", b'{"redriven":5}', b"[]"])
def test_records_of_neither_kind_are_passed_over(value: bytes | None) -> None:
    """Whatever else somebody writes there does not stop the command."""
    assert read_dead_letter(value) is None
    assert read_marker(value) is None


def test_a_choice_goes_by_beginnings_of_ids_and_by_reason() -> None:
    """A beginning is enough; without either all are chosen."""
    found = dead_letter(LIKE)
    assert Choice((found.id[:6], "zz")).takes(found)
    assert not Choice(("zz",)).takes(found)
    assert Choice(reason="bad_value").takes(found)
    assert not Choice(reason="bad_time").takes(found)
    assert Choice().takes(found)


def test_an_overview_keeps_the_newest_dead_letters_and_counts_all() -> None:
    """However many there are, memory holds as many as are shown."""
    overview = Overview(2)
    for number in range(5):
        overview.add(dead_letter(b"%d" % number, Reason.NOT_JSON if number else Reason.BAD_TIME))
    assert [each.raw for each in overview.newest_first()] == [b"4", b"3"]
    assert (overview.total, overview.by_reason) == (5, {"not_json": 4, "bad_time": 1})


class TestTransform:
    """What a corrected mapping makes of a dead letter."""

    @staticmethod
    def transform(
        raw: bytes | dict[str, Any], *drops: str, **rules: Any
    ) -> tuple[dict[str, Any], Rejection | None]:
        """The line to send, and why ingest would reject it again."""
        transformed = Transform(parse_rules(**rules), drops).apply(dead_letter(raw))
        return json.loads(transformed.line), transformed.rejection

    def test_set_and_map_and_drop_correct_an_event(self) -> None:
        """A wrong value is replaced, a misnamed field renamed, one too many left out."""
        assert self.transform(LIKE | {"action": "retweet"}, sets=["action=repost"]) == (
            LIKE | {"action": "repost"},
            None,
        )
        assert self.transform(LIKE | {"hashtag": "#a b"}, maps=["hashtags=hashtag"]) == (
            LIKE | {"hashtags": ["#a", "b"]},
            None,
        )
        assert self.transform(LIKE | {"lang": "en"}, "lang") == (LIKE, None)

    def test_what_would_be_rejected_again_is_known_before_it_is_sent(self) -> None:
        """So dead letters do not multiply with every attempt."""
        line, rejection = self.transform(LIKE | {"action": "retweet"}, sets=["campaign=c"])
        assert rejection
        assert (rejection.field, rejection.reason) == ("action", Reason.BAD_VALUE)
        assert line["action"] == "retweet"

    def test_an_event_that_was_sent_indented_becomes_one_line(self) -> None:
        """Line breaks of JSON are white space; a line is an event for ingest."""
        transformed = Transform(parse_rules(sets=["campaign=c"])).apply(
            dead_letter(json.dumps(LIKE, indent=2).encode())
        )
        assert transformed.rejection is None
        assert b"\n" not in transformed.line
        assert transformed.named

    def test_an_event_without_an_id_gets_the_same_one_each_time(self) -> None:
        """Sending it twice is safe then, and the report says so."""
        raw = {name: value for name, value in LIKE.items() if name != "event_id"}
        first, second = (Transform(parse_rules()).apply(dead_letter(raw)) for _ in range(2))
        assert first.line == second.line
        assert first.rejection is None
        assert not first.named

    @pytest.mark.parametrize("write", [dead_letter, of_log])
    def test_a_dead_letter_that_was_cut_cannot_be_sent(self, write: Callable[[bytes], DeadLetter]) -> None:
        """Whoever wrote it: torn bytes are never sent, even where they would be a good event."""
        event = json.dumps(LIKE).encode()
        transformed = Transform(parse_rules()).apply(write(event + b" " * 300_000))
        assert transformed.line == b""
        assert transformed.rejection == Rejection(
            "",
            Reason.TOO_LARGE,
            f"cannot be sent again: only 262,144 of its {300_000 + len(event):,} bytes were kept",
        )


def test_what_is_no_object_loses_no_field() -> None:
    """--drop leaves other dead letters alone, byte for byte."""
    for raw in (b"not json", b"[1]", b"\xff", b'{"b" : 1}'):
        assert without_fields(raw, ["a"]) == raw
    assert without_fields(b'{"a":1,"b":2}', ["a"]) == b'{"b":2}'
