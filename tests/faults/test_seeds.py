"""Whatever happens to workers and broker, every figure equals a recount of the log, to the unit."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.conftest import OUTCOMES, SEEDS, OutcomeOf
from tests.faults.plan import POINTS, draw_plan
from tests.faults.scenario_run import Outcome

# The first test submits all seeds, and a later one may wait for all others. Each run has limits of its own.
pytestmark = pytest.mark.timeout(6 * 3600)


def test_ci_has_each_kind_of_fault_several_times() -> None:
    """The seeds of CI have every kind three times or more, and every point of a worker at least once."""
    faults = [fault for seed in range(1, SEEDS + 1) for fault in draw_plan(seed).faults]
    kinds = Counter(fault.kind for fault in faults)
    assert min(kinds[kind] for kind in POINTS) >= 3, kinds
    struck = {fault.order.point for fault in faults if fault.order}
    assert struck == {point for points in POINTS.values() for point in points}


def test_figures_equal_a_recount(
    seed: int, outcome_of: OutcomeOf, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the faults of a seed totals, rolling counts, checkpoints and dead letters equal a recount's."""
    with capsys.disabled():
        outcome = outcome_of(seed)
        print(f"\n{outcome}", end=" ")  # noqa: T201 # a seed and what it did are seen, also when all is well
    if outcome.error:
        outcome.error.add_note(f'again: make test ARGS="tests/faults/test_seeds.py --seed {seed}"')
        raise outcome.error


def test_kills_hit_workers_that_were_processing(
    request: pytest.FixtureRequest, outcome_of: OutcomeOf
) -> None:
    """Of all kills two thirds or more hit a worker with records in hand that were not committed."""
    outcomes: list[Outcome] = list(request.config.stash[OUTCOMES].values())
    kills = [busy for outcome in outcomes for busy in outcome.kills()]
    assert kills, "no worker was killed"
    assert sum(kills) >= len(kills) * 2 / 3
