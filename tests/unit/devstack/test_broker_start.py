"""A starting broker is given up when it makes no progress, and not after a fixed time."""

from __future__ import annotations

from pathlib import Path

import pytest

from fanpulse.devstack.broker_start import REPORT_SECONDS, StalledError, StartWatch, activity

LOADED = (
    "2026-12-01T13:45:10,{number:03} INFO  LogManager: Completed load of Log(dir=/d/x-{number}) "
    "({number}/400 completed in /d)"
)
AGAIN = "2026-12-01T13:45:{number:02},000 WARN  NetworkClient: Connection to node 1 could not be established"


class Clock:
    """Time that passes when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_start_may_take_any_time_while_it_makes_progress(tmp_path: Path) -> None:
    """Four hundred partitions, 20 s each, with a limit of 30 s; what is shown is the share that is loaded."""
    log, clock, shown = tmp_path / "kafka.log", Clock(), list[str]()
    watch = StartWatch(log, 30, shown.append, clock)
    for number in range(1, 401):
        with log.open("a") as file:
            file.write(LOADED.format(number=number) + "\n")
        clock.now += 20
        watch.check()
    assert shown[0] == "while it loads its data: 1 of 400 partitions, 0 %"
    assert shown[-1] == "while it loads its data: 400 of 400 partitions, 100 %"


def test_a_broker_that_does_nothing_is_given_up(tmp_path: Path) -> None:
    """The line says for how long, what was last, and which setting allows more."""
    log, clock = tmp_path / "kafka.log", Clock()
    log.write_text(LOADED.format(number=7) + "\n")
    watch = StartWatch(log, 30, lambda _: None, clock)
    clock.now = 30
    watch.check()
    clock.now = 30.1
    with pytest.raises(
        StalledError, match=r"no progress for 30 s; waiting .* 7 of 400 .*broker_stall_seconds"
    ):
        watch.check()


def test_the_same_line_again_is_no_progress(tmp_path: Path) -> None:
    """A broker that tries in vain writes lines for ever."""
    log, clock = tmp_path / "kafka.log", Clock()
    watch = StartWatch(log, 30, lambda _: None, clock)

    def wait(seconds: int) -> None:
        for number in range(seconds):
            with log.open("a") as file:
                file.write(AGAIN.format(number=number) + "\n")
            clock.now += 1
            watch.check()

    wait(30)
    with pytest.raises(StalledError):
        wait(5)


def test_a_quick_start_is_not_shown_and_no_text_comes_twice(tmp_path: Path) -> None:
    """Nothing within the first seconds, then each change once."""
    log, clock, shown = tmp_path / "kafka.log", Clock(), list[str]()
    log.write_text("one\n")
    watch = StartWatch(log, 300, shown.append, clock)
    clock.now = REPORT_SECONDS - 0.1
    watch.check()
    assert shown == []
    for _ in range(5):
        clock.now += REPORT_SECONDS
        watch.check()
    assert shown == ["for it: one"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", ""),
        (
            "t INFO  LogLoader: [LogLoader partition=a-0, dir=/d] Recovering unflushed segment 12. "
            "3 recovered for a-0.\n",
            "while it recovers its data: segment 12 of a-0",
        ),
        ("junk " * 100, f"for it: {('junk ' * 24)[:120]}"),
    ],
)
def test_what_the_broker_does_is_said_in_a_few_words(lines: str, said: str) -> None:
    """By the newest line that says how far it is."""
    assert activity(lines) == said
