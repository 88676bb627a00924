"""`fanpulse load`: batches, their order, what is told of them, and where a load goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fanpulse.load.checkpoint import Checkpoint
from fanpulse.load.client import Answer, GivenUpError, IngestUnavailableError, Rejected
from fanpulse.load.loading import Limits, Loader, RejectedRow
from fanpulse.load.opening import StoppedError
from fanpulse.load.parsing.lines import Row
from fanpulse.load.parsing.mapped import Mapped
from fanpulse.load.rate_limiter import RateLimiter, SpeedError, parse_speed
from schemas.reasons import Reason, Rejection

ALL = Limits(batch_rows=3, batch_bytes=100, in_flight=2)


class Mapper:
    """Takes a row's bytes for its event; an x in it is known to be wrong."""

    def map(self, value: Any, /) -> Mapped:
        known = (Rejection("quantity", Reason.WRONG_TYPE, "we know better"),) if b"x" in value else ()
        return Mapped(value, json.loads(value) if value.startswith(b"{") else None, known)


class Ingest:
    """Accepts lines, except those with a ! or an x; keeps what it was sent."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []

    def __call__(self, lines: list[bytes]) -> Answer:
        self.batches.append(lines)
        bad = tuple(
            Rejected(at, "quantity" if b"x" in line else "", "bad_value", "theirs")
            for at, line in enumerate(lines)
            if b"!" in line or b"x" in line
        )
        return Answer(len(lines) - len(bad), bad)


class Listener:
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.checkpoints: list[Checkpoint] = []
        self.rejected: list[RejectedRow] = []

    def settled(self, checkpoint: Checkpoint, rejected: list[RejectedRow]) -> None:
        self.checkpoints.append(checkpoint)
        self.rejected += rejected


def rows(*values: bytes) -> Iterator[Row]:
    """Rows of ten bytes each, from line 2 on."""
    return (Row(number, value, number * 10, number) for number, value in enumerate(values, start=2))


def loader(post: Any, listener: Listener | None = None, **options: Any) -> Loader:
    """A loader with small batches."""
    settings: dict[str, Any] = {"limits": ALL, "stop": lambda: False} | options
    return Loader(post, Mapper(), listener or Listener(), **settings)


def test_rows_are_sent_in_batches_and_counted() -> None:
    """As many as fit; the last batch is what is left."""
    ingest, listener = Ingest(), Listener()
    load = loader(ingest, listener)
    assert load.run(rows(*[b"%d" % number for number in range(7)]))
    assert sorted(map(len, ingest.batches)) == [1, 3, 3]
    assert (load.checkpoint.rows, load.checkpoint.accepted, load.checkpoint.end) == (7, 7, 80)


def test_a_batch_has_a_limit_in_bytes() -> None:
    """A single row over it still travels, alone."""
    ingest = Ingest()
    loader(ingest).run(rows(b"a" * 60, b"b" * 60, b"c" * 200, b"d", b"e"))
    assert sorted(map(len, ingest.batches)) == [1, 1, 1, 2]


def test_rejected_rows_are_told_by_their_lines_in_order_of_the_file() -> None:
    """Of a cell that we could not read, our own words; else those of ingest."""
    listener = Listener()
    load = loader(Ingest(), listener)
    load.run(rows(b"a", b"!", b"c", b"d", b"x", b"f"))
    assert listener.rejected == [
        RejectedRow(3, "", "bad_value", "theirs"),
        RejectedRow(6, "quantity", "wrong_type", "we know better"),
    ]
    assert load.checkpoint.rejected == {"bad_value": 1, "wrong_type": 1}
    assert load.checkpoint.accepted == 4


def test_a_line_that_is_no_row_is_sent_as_it_stands() -> None:
    """So that it becomes a dead letter; its own problem is what is shown."""
    ingest, listener = Ingest(), Listener()
    problem = Rejection("", Reason.NOT_UTF8, "byte 0xff at place 3 of line 9")
    loader(ingest, listener).run(iter([Row(9, b"a,\xff!", 50, 9, problem)]))
    assert ingest.batches == [[b"a,\xff!"]]
    assert listener.rejected == [RejectedRow(9, "", "not_utf8", "byte 0xff at place 3 of line 9")]


def test_the_checkpoint_is_a_prefix_of_the_file() -> None:
    """However late an earlier batch is answered, nothing behind it counts as done before it is."""
    release = threading.Event()
    sent = threading.Semaphore(0)

    def slow_first(lines: list[bytes]) -> Answer:
        sent.release()
        if lines[0] == b"0":
            assert release.wait(20)
        return Answer(len(lines), ())

    listener = Listener()
    load = loader(slow_first, listener)

    def values() -> Iterator[Row]:
        yield from rows(*[b"%d" % number for number in range(6)])
        sent.acquire()
        sent.acquire()  # both batches are on their way, the second is answered
        assert load.checkpoint == Checkpoint()
        release.set()

    assert load.run(values())
    assert [checkpoint.rows for checkpoint in listener.checkpoints] == [3, 6]


def test_no_more_requests_are_on_their_way_than_allowed() -> None:
    """The reader waits for the oldest."""
    now, most, lock = 0, 0, threading.Lock()

    def post(lines: list[bytes]) -> Answer:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.005)
        with lock:
            now -= 1
        return Answer(len(lines), ())

    loader(post).run(rows(*[b"1"] * 60))
    assert most == 2


def test_interactions_wait_for_the_posts_before_them() -> None:
    """Ingest completes a like with the hashtags of its post, so the post has to be there first."""
    order: list[str] = []

    def post(lines: list[bytes]) -> Answer:
        kind = json.loads(lines[0])["kind"]
        if kind == "post":
            threading.Event().wait(0.05)
        order.append(kind)
        return Answer(len(lines), ())

    kinds = ["post"] * 3 + ["interaction"] * 3 + ["reading"] * 3
    loader(post).run(rows(*[b'{"kind":"%s"}' % kind.encode() for kind in kinds]))
    assert order.index("post") < order.index("interaction")


def test_a_failure_ends_the_load_with_what_was_done_before() -> None:
    """The error is raised, and the checkpoint stands before the batch that failed, not behind."""

    def post(lines: list[bytes]) -> Answer:
        if lines[0] == b"3":
            raise IngestUnavailableError("gone")
        return Answer(len(lines), ())

    load = loader(post)
    with pytest.raises(IngestUnavailableError):
        load.run(rows(*[b"%d" % number for number in range(30)]))
    assert (load.checkpoint.rows, load.failed) == (3, True)


def test_a_stop_settles_what_is_on_its_way() -> None:
    """Rows that were read are sent and answered; none is read after that."""
    ingest = Ingest()
    read: list[int] = []

    def values() -> Iterator[Row]:
        for row in rows(*[b"1"] * 30):
            read.append(row.number)
            yield row

    load = loader(ingest, stop=lambda: len(read) > 7)
    assert not load.run(values())
    assert len(read) == 8
    assert load.checkpoint.rows == sum(map(len, ingest.batches)) == 7


def test_a_stop_while_ingest_is_away_ends_too() -> None:
    """A request that is given up is not settled."""

    def post(lines: list[bytes]) -> Answer:
        raise GivenUpError

    load = loader(post)
    assert not load.run(rows(b"1"))
    assert load.checkpoint.rows == 0


def test_an_idle_input_is_not_kept_waiting() -> None:
    """What has come of a pipe is sent though a batch is not full, and a stop is heard there."""
    ingest = Ingest()
    stop = False

    def values() -> Iterator[Row]:
        nonlocal stop
        yield from rows(b"1", b"2")
        load.idle()
        assert load._under_way or ingest.batches
        stop = True
        load.idle()

    load = loader(ingest, stop=lambda: stop)
    assert not load.run(values())
    assert load.checkpoint.rows == 2
    with pytest.raises(StoppedError):
        load.idle()


def test_a_load_goes_on_with_the_counts_it_had() -> None:
    """What the interrupted run did is part of the sums."""
    before = Checkpoint(end=20, lines=2, rows=10, accepted=8, rejected={"bad_value": 2}, seconds=3.0)
    load = loader(Ingest(), start=before)
    load.run(rows(b"1", b"!"))
    after = load.checkpoint
    assert (after.rows, after.accepted, after.rejected) == (12, 9, {"bad_value": 3})
    assert after.seconds > 3


class TestRateLimiter:
    """--speed."""

    @pytest.mark.parametrize(("text", "speed"), [("max", None), ("1x", 1.0), ("60x", 60.0), ("0.5x", 0.5)])
    def test_speeds(self, text: str, speed: float | None) -> None:
        """Recorded seconds in a second."""
        assert parse_speed(text) == speed

    @pytest.mark.parametrize("text", ["60", "fast", "0x", "-1x", ""])
    def test_what_is_no_speed(self, text: str) -> None:
        """Is said in one line."""
        with pytest.raises(SpeedError, match="write max"):
            parse_speed(text)

    def test_rows_are_due_as_they_were_recorded(self) -> None:
        """A minute apart at 60x is a second; time spent elsewhere is made up; unreadable times are due."""
        now = 100.0
        rate_limiter = RateLimiter(60.0, lambda: now, lambda seconds: None)
        first = {"occurred_at": "2026-06-22T09:30:00Z"}
        assert rate_limiter.delay(first) == 0
        assert rate_limiter.delay({"occurred_at": 1_782_120_660_000}) == pytest.approx(1.0)
        now = 100.75
        assert rate_limiter.delay({"occurred_at": "2026-06-22T09:31:00Z"}) == pytest.approx(0.25)
        assert rate_limiter.delay({"occurred_at": "2026-06-22T09:00:00Z"}) == 0
        for event in (None, {}, {"occurred_at": "soon"}, {"occurred_at": True}):
            assert rate_limiter.delay(event) == 0

    def test_rows_wait_until_they_are_due(self) -> None:
        """At a recorded speed a row is not sent before its time, and rows before it are not kept back."""
        now = 0.0
        sent: list[tuple[int, float]] = []
        first = threading.Event()

        def sleep(seconds: float) -> None:
            nonlocal now
            assert first.wait(20)  # what is due is sent before time passes
            now += seconds

        def post(lines: list[bytes]) -> Answer:
            sent.append((len(lines), now))
            first.set()
            return Answer(len(lines), ())

        times = [1_782_120_600_000 + offset for offset in (0, 10, 60_000, 30_000)]
        rate_limiter = RateLimiter(2.0, lambda: now, sleep)
        loader(post, rate_limiter=rate_limiter).run(rows(*[b'{"occurred_at":%d}' % time for time in times]))
        assert [count for count, _ in sent] == [2, 2]
        assert (sent[0][1], sent[1][1] >= 30) == (0, True)
