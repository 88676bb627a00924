"""The watchdog ends what is alive and does nothing, and only that."""

from __future__ import annotations

from services.aggregate.kafka.watchdog import Progress, Watchdog


def test_it_fails_once_a_check_has_failed_for_its_time() -> None:
    """A check may fail for its time; one success in between starts that time again."""
    now, trouble, failures = [0.0], ["a rebalance does not end"], list[str]()
    watchdog = Watchdog(
        {"rebalance": (lambda: trouble[0] or None, 10.0), "other": (lambda: None, 0.0)},
        on_failure=failures.append,
        clock=lambda: now[0],
    )
    for seconds, wrong in ((0.0, True), (9.9, True), (10.0, False), (11.0, True), (20.9, True)):
        now[0], trouble[0] = seconds, "a rebalance does not end" if wrong else ""
        watchdog.poll()
        assert failures == []
    now[0] = 21.0
    watchdog.poll()
    assert failures == ["a rebalance does not end for 10 s"]


def test_a_check_that_cannot_be_run_fails_at_once() -> None:
    """An error in a check is no sign of health, and does not keep the other checks from running."""
    ran, failures = list[str](), list[str]()

    def broken() -> str | None:
        raise AttributeError("no _coordinator")

    def other() -> str | None:
        ran.append("other")
        return None

    watchdog = Watchdog({"group": (broken, 60.0), "other": (other, 60.0)}, failures.append, lambda: 0.0)
    watchdog.poll()
    assert failures == ["health check group cannot be run: AttributeError('no _coordinator')"]
    assert ran == ["other"]


def test_progress_is_missed_only_while_there_is_work() -> None:
    """Standing still is trouble with records waiting; without any, or with a mark that moves, it is not."""
    state = [5, 100]
    progress = Progress(lambda: (state[0], state[1]))
    assert progress.check() is None  # the first poll has nothing to compare with
    assert progress.check() == "5 records wait and none is counted"
    state[1] = 101
    assert progress.check() is None
    state[0] = 0
    assert progress.check() is None
    assert progress.check() is None
