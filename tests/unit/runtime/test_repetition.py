"""Log lines of a lasting fault are few, and grow apart."""

from __future__ import annotations

import json
import logging as stdlib
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import structlog

from services.runtime import logging
from services.runtime.repetition import MOST_LINES, RepetitionFilter


class Repeating:
    """A filter under a clock that a test sets, and what it let pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.filter = RepetitionFilter(lambda: self.now)
        self.passed: list[tuple[float, int]] = []

    def log(self, msg: Any, *args: Any, level: int = stdlib.ERROR, name: str = "aiokafka") -> bool:
        record = stdlib.LogRecord(name, level, __file__, 1, msg, args, None)
        if not self.filter.filter(record):
            return False
        left_out = record.msg.get("left_out", 0) if isinstance(record.msg, dict) else 0
        self.passed.append((self.now, getattr(record, "left_out", left_out)))
        return True


@pytest.fixture
def repeating() -> Repeating:
    return Repeating()


def test_a_line_that_repeats_grows_apart(repeating: Repeating) -> None:
    """Ten times a second for an hour: at once, after 1 s, 2 s, 4 s, ... then every ten minutes. None is lost
    from the count."""
    for tenth in range(36_000):
        repeating.now = tenth / 10
        repeating.log("Unable connect to node with id %s: rejected", tenth)
    times = [at for at, _ in repeating.passed]
    assert times[:10] == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511]
    assert len(times) == 15
    assert {round(later - at) for at, later in pairwise(times[10:])} == {600}
    left_out = [number for _, number in repeating.passed]
    assert left_out[:4] == [0, 9, 19, 39]
    assert sum(left_out) + len(times) == 36_000 - sum(1 for t in range(36_000) if t / 10 > times[-1])


def test_after_quiet_it_is_new_again(repeating: Repeating) -> None:
    """A fault that comes back the next day is told at once, with what was left out the day before."""
    for second in range(1000):
        repeating.now = float(second)
        repeating.log("gone")
    repeating.passed.clear()
    repeating.now += 86_400
    for _ in range(3):
        repeating.log("gone")
        repeating.now += 0.5
    assert [at for at, _ in repeating.passed] == [86_400 + 999, 86_400 + 1000]
    assert repeating.passed[0][1] > 0


def test_numbers_and_addresses_make_no_other_line(repeating: Repeating) -> None:
    """Attempts, ports, times and object ids change from line to line."""
    assert repeating.log("<Consumer 0x7f3a> attempt %s after %s ms", 1, 250)
    assert not repeating.log("<Consumer 0x88bc> attempt %s after %s ms", 2, 500)


def test_other_lines_pass(repeating: Repeating) -> None:
    """Another logger, level or text; of our events another partition or name."""
    assert repeating.log("gone")
    assert repeating.log("gone", name="faust")
    assert repeating.log("gone", level=stdlib.WARNING)
    assert repeating.log("gone away")
    for fields in (
        {"partition": 1},
        {"partition": 2},
        {"alert": "milestone/like/1000"},
        {"alert": "milestone/like/2000"},
    ):
        assert repeating.log({"event": "alert_not_delivered", **fields}), fields
    assert repeating.log({"event": "stale", "partition": 1, "offset": 7, "error": "e 1"})
    assert not repeating.log({"event": "stale", "partition": 1, "offset": 8, "error": "e 2"})


def test_events_of_our_own_that_are_no_faults_always_pass(repeating: Repeating) -> None:
    """INFO says what happened, once each; DEBUG is asked for."""
    for _ in range(5):
        assert repeating.log({"event": "partitions assigned"}, level=stdlib.INFO)
        assert repeating.log("sent", level=stdlib.DEBUG)
    assert repeating.log("foreign", level=stdlib.INFO)
    assert not repeating.log("foreign", level=stdlib.INFO)


def test_a_line_whose_arguments_do_not_fit_is_still_a_line(repeating: Repeating) -> None:
    """The filter is no place to fail."""
    assert repeating.log("%d and %d", "one")


def test_memory_is_bounded(repeating: Repeating) -> None:
    """Lines without an end are forgotten, the oldest first."""
    for number in range(2 * MOST_LINES):
        assert repeating.log("line of " + "x" * (number % 250) + "y" * (number // 250))
    assert len(repeating.filter._lines) == MOST_LINES


def test_threads_lose_no_line_of_the_count(repeating: Repeating) -> None:
    """librdkafka logs from threads of its own."""
    threads = [threading.Thread(target=lambda: [repeating.log("gone") for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    repeating.now = 2.0
    repeating.log("gone")
    assert [number for _, number in repeating.passed] == [0, 8 * 500 - 1]


@pytest.fixture
def _restored() -> Iterator[None]:
    root = stdlib.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    stdlib.captureWarnings(False)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_restored")
def test_the_log_of_a_service_is_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours, and those of librdkafka, aiokafka and Faust: one line each of a hundred."""
    logging.configure("info", "json")
    ours = structlog.get_logger("ours")
    for number in range(100):
        ours.warning("broker_trouble", error=f"{number} requests timed out")
        stdlib.getLogger("librdkafka").log(stdlib.ERROR, "%s [%s] %s", "FAIL", "p", f"rejected {number}")
        stdlib.getLogger("aiokafka.consumer").error("Failed fetch from %s", number)
        stdlib.getLogger("faust.worker").error("[^Worker]: Error %r", RuntimeError(f"{number} gone"))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["logger"] for line in lines] == ["ours", "librdkafka", "aiokafka.consumer", "faust.worker"]
