"""Laws of readings: what an auditor can prove to the unit, whatever a platform reports."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.totals import Key
from services.aggregate.readings import Course, Readings

METRICS = ["followers", "reads", "likes", "comments", "reposts", "viewers"]
GROSS = ("gained", "lost", "falls", "corrections", "resets", "late")

values = st.one_of(st.integers(0, 400), st.integers(0, 40_000), st.integers(0, 10**12))
readings = st.lists(
    st.tuples(st.sampled_from(METRICS[:2] + METRICS[-1:]), values, st.integers(1, 30)), max_size=60
)


def key(metric: str) -> Key:
    return ("reading", "twitter", "GansuTravel", metric)


def taken(log: list[tuple[str, int, int]], into: Readings | None = None) -> Readings:
    into = into or Readings()
    for metric, value, at_ms in log:
        into.take(key(metric), value, at_ms)
    return into


def counts(course: Course) -> dict[str, int]:
    return {name: getattr(course, name) for name in GROSS}


@given(st.lists(st.tuples(st.sampled_from(METRICS), values, st.integers(1, 30)), max_size=60))
@settings(max_examples=300, deadline=None)
def test_every_step_is_accounted_for(log: list[tuple[str, int, int]]) -> None:
    """After each reading value == first + gained - lost + reset_by; gross figures and counters never fall;
    the value is the one that the platform reported last; the baseline of a count stays."""
    state = Readings()
    reported: dict[str, tuple[int, int]] = {}
    before: dict[str, Course] = {}
    for metric, value, at_ms in log:
        state.take(key(metric), value, at_ms)
        if at_ms >= reported.get(metric, (0, 0))[0]:
            reported[metric] = (at_ms, value)
        course = state.courses[key(metric)]
        assert (course.at_ms, course.value) == reported[metric]
        assert course.value == course.first + course.gained - course.lost + course.reset_by
        old = before.get(metric)
        if old is not None:
            assert all(counts(course)[name] >= counts(old)[name] for name in GROSS)
            assert metric == "viewers" or course.first == old.first
        before[metric] = Course(**{name: getattr(course, name) for name in Course.__struct_fields__})
    for name in ("corrections", "resets", "late"):
        assert getattr(state, name) == sum(getattr(course, name) for course in state.courses.values())


@given(readings)
@settings(max_examples=300, deadline=None)
def test_late_readings_change_nothing_but_their_counter(log: list[tuple[str, int, int]]) -> None:
    """Without them the courses are the same, and they are as many as were left out."""
    newest: dict[str, int] = {}
    kept = []
    for metric, value, at_ms in log:
        if at_ms >= newest.get(metric, 0):
            newest[metric] = at_ms
            kept.append((metric, value, at_ms))
    found, without = taken(log), taken(kept)
    assert found.late == len(log) - len(kept)
    for course in found.courses.values():
        course.late = 0
    assert found.courses == without.courses


@given(readings, st.sets(st.integers(0, 60), max_size=5))
@settings(max_examples=300, deadline=None)
def test_a_restart_at_any_reading_changes_nothing(
    log: list[tuple[str, int, int]], restarts: set[int]
) -> None:
    """Stored, restored and read on, as after a crash or in a replay: the same courses and counters."""
    stored: dict[Key, dict[str, Any]] = {}
    state = Readings()
    for number, each in enumerate(log):
        taken([each], state)
        if number in restarts:
            stored.update(state.take_changes())
            state = Readings()
            for name, entry in stored.items():
                state.restore(name, entry | {"offset": number})
    live = taken(log)
    assert state.courses == live.courses
    assert (state.corrections, state.resets, state.late) == (live.corrections, live.resets, live.late)


@given(readings)
@settings(max_examples=300, deadline=None)
def test_lost_is_made_of_falls_and_corrections_only(log: list[tuple[str, int, int]]) -> None:
    """Something is lost if and only if a fall or a correction was counted, each of its own kind of metric; a
    gauge never moves anything."""
    courses = taken(log).courses
    for name, course in courses.items():
        assert (course.lost > 0) == (course.falls + course.corrections > 0)
        assert course.lost >= course.falls + course.corrections
        assert course.corrections == 0 or name[-1] == "reads"
        assert course.falls == 0 or name[-1] != "reads"
        assert name[-1] != "viewers" or (course.gained, course.lost, course.reset_by) == (0, 0, 0)
