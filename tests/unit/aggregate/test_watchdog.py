"""The watchdog bites what is alive and does nothing, and only that."""

from __future__ import annotations

from services.aggregate.kafka.watchdog import Progress, Watchdog


def test_it_bites_once_a_check_has_failed_for_its_time() -> None:
    """A check may fail for its time; a good look in between begins it anew."""
    now, trouble, bites = [0.0], ["a rebalance does not end"], list[str]()
    watchdog = Watchdog(
        {"rebalance": (lambda: trouble[0] or None, 10.0), "other": (lambda: None, 0.0)},
        on_failure=bites.append,
        clock=lambda: now[0],
    )
    for seconds, wrong in ((0.0, True), (9.9, True), (10.0, False), (11.0, True), (20.9, True)):
        now[0], trouble[0] = seconds, "a rebalance does not end" if wrong else ""
        watchdog.poll()
        assert bites == []
    now[0] = 21.0
    watchdog.poll()
    assert bites == ["a rebalance does not end for 10 s"]


def test_progress_is_missed_only_while_there_is_work() -> None:
    """Standing still is trouble with records waiting; without any, or with a mark that moves, it is not."""
    state = [5, 100]
    progress = Progress(lambda: (state[0], state[1]))
    assert progress.check() is None  # the first look has nothing to compare with
    assert progress.check() == "5 records wait and none is counted"
    state[1] = 101
    assert progress.check() is None
    state[0] = 0
    assert progress.check() is None
    assert progress.check() is None
