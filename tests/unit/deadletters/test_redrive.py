"""`fanpulse dead-letters`: letters, marks, and what mending makes of them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fanpulse.deadletters.redrive import Mender
from fanpulse.deadletters.snapshot import (
    Choice,
    DeadLetter,
    Overview,
    RedriveMarker,
    encode_marker,
    read_dead_letter,
    read_marker,
    short_id,
    without_fields,
)
from fanpulse.load.parsing.rules import parse_rules
from schemas.reasons import Reason, Rejection
from services.ingest.pipeline.dead_letters import dead_letter as write_dead_letter

LIKE: dict[str, Any] = {
    "kind": "interaction", "event_id": "e1", "occurred_at": "2026-06-22T09:30:00Z", "platform": "twitter",
    "account": "GansuTravel", "action": "like",
}  # fmt: skip


def dead_letter(raw: bytes | dict[str, Any], reason: Reason = Reason.BAD_VALUE, **changes: Any) -> DeadLetter:
    """A letter as ingest writes it."""
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    rejection = Rejection("action", reason, "no such action")
    value = json.loads(
        write_dead_letter(rejection, data, source="file:%E4%BC%8F.csv", received_at=7, index=3)
    )
    found = read_dead_letter(json.dumps(value | changes).encode())
    assert found
    return found


def test_a_letter_of_ingest_is_read() -> None:
    """With the bytes that were sent, the size, and the source as a person writes it."""
    found = dead_letter(b'{"a":\xff}')
    assert (found.reason, found.field, found.index, found.received_at) == ("bad_value", "action", 3, 7)
    assert (found.data, found.size, found.origin) == (b'{"a":\xff}', 7, "file:伏.csv")
    assert not found.is_of_log


def test_a_letter_of_the_aggregator_is_read() -> None:
    """It lacks some fields, and its source is the log."""
    value = {
        "id": "log-3-4711-0", "reason": "unsupported_version", "field": "", "detail": "v2", "source": "log",
        "received_at": 7, "index": 0, "partition": 3, "offset": 4711, "raw": base64.b64encode(b"{}").decode(),
    }  # fmt: skip
    found = read_dead_letter(json.dumps(value).encode())
    assert found
    assert (found.is_of_log, found.size, short_id(found.id)) == (True, 2, "log-3-4711-0")
    assert Choice(reason="unsupported_version").takes(found)
    assert not Choice(of_log=False).takes(found)


def test_marks_and_letters_are_told_apart() -> None:
    """Both live in the same topic; a reader never takes one for the other."""
    marker = RedriveMarker("ab" * 16, 7, accepted=False)
    record = encode_marker(marker)
    assert read_marker(record) == marker
    assert read_dead_letter(record) is None
    assert (
        read_marker(
            write_dead_letter(Rejection("", Reason.NOT_JSON, ""), b"x", source="s", received_at=1, index=0)
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


def test_an_overview_keeps_the_last_letters_and_counts_all() -> None:
    """However many there are, memory holds as many as are shown."""
    overview = Overview(2)
    for number in range(5):
        overview.add(dead_letter(b"%d" % number, Reason.NOT_JSON if number else Reason.BAD_TIME))
    assert [each.data for each in overview.newest_first()] == [b"4", b"3"]
    assert (overview.total, overview.by_reason) == (5, {"not_json": 4, "bad_time": 1})


class TestMender:
    """What a mended mapping makes of a letter."""

    @staticmethod
    def transform(
        raw: bytes | dict[str, Any], *drops: str, **rules: Any
    ) -> tuple[dict[str, Any], Rejection | None]:
        """The line to send, and why it would be refused again."""
        mended = Mender(parse_rules(**rules), drops).transform(dead_letter(raw))
        return json.loads(mended.line), mended.rejection

    def test_set_and_map_and_drop_mend_an_event(self) -> None:
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

    def test_what_would_be_refused_again_is_known_before_it_is_sent(self) -> None:
        """So that letters do not multiply with every attempt."""
        line, rejection = self.transform(LIKE | {"action": "retweet"}, sets=["campaign=c"])
        assert rejection
        assert (rejection.field, rejection.reason) == ("action", Reason.BAD_VALUE)
        assert line["action"] == "retweet"

    def test_an_event_that_was_sent_indented_becomes_one_line(self) -> None:
        """Line breaks of JSON are white space; a line is an event for ingest."""
        mended = Mender(parse_rules(sets=["campaign=c"])).transform(
            dead_letter(json.dumps(LIKE, indent=2).encode())
        )
        assert mended.rejection is None
        assert b"\n" not in mended.line
        assert mended.named

    def test_an_event_without_an_id_gets_the_same_one_each_time(self) -> None:
        """To send it twice is safe then, and the report says that it happened."""
        raw = {name: value for name, value in LIKE.items() if name != "event_id"}
        first, second = (Mender(parse_rules()).transform(dead_letter(raw)) for _ in range(2))
        assert first.line == second.line
        assert first.rejection is None
        assert not first.named

    def test_a_letter_that_was_cut_cannot_be_sent(self) -> None:
        """Only its beginning is there."""
        mended = Mender(parse_rules()).transform(dead_letter(b"x" * 300_000))
        assert mended.rejection == Rejection(
            "", Reason.TOO_LARGE, "only the beginning of its 300,000 bytes was kept"
        )


def test_what_is_no_object_loses_no_field() -> None:
    """--drop leaves other letters alone, byte for byte."""
    for raw in (b"not json", b"[1]", b"\xff", b'{"b" : 1}'):
        assert without_fields(raw, ["a"]) == raw
    assert without_fields(b'{"a":1,"b":2}', ["a"]) == b'{"b":2}'
