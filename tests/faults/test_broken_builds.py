"""The test of the tests: bugs that somebody might write are found, by the check that all seeds must pass."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from tests.faults.builds import BROKEN, INTACT, LOST_POLLS, polls_lost
from tests.faults.check import DiffersError
from tests.faults.plan import PAUSE, Fault, FaultPlan, Order
from tests.faults.runner import Runner
from tests.faults.scenario_run import Outcome

pytestmark = pytest.mark.timeout(900)

#: Killed right after a transaction of a flush: harmless, unless something is left for another one. More than
#: once, since the third from an order on may be the last of a flush.
AFTER_A_COMMIT = FaultPlan(1001, 1, (Fault("kill in a commit", Order("commit.done", nth=3)),) * 3)
#: Paused with counts that are taken and not written, and woken when another has counted the log to its end.
PAUSED_TO_THE_END = FaultPlan(
    1002, 1, (Fault(PAUSE, Order("flush.begin", 3, signal="SIGSTOP"), at_end=True),)
)
#: Killed somewhere, and started again.
RESTARTED = FaultPlan(1003, 1, (Fault("kill at any moment", Order("anywhere", delay_ms=100)),))
#: The log alone, with its repetitions.
UNDISTURBED = FaultPlan(1004, 1, ())

PLANS = {
    "offset_outside": AFTER_A_COMMIT,
    "no_fencing": PAUSED_TO_THE_END,
    "no_dedup": UNDISTURBED,
    "ids_forgotten": RESTARTED,
    "at_least_once": PAUSED_TO_THE_END,
    "at_least_once_offset_after": AFTER_A_COMMIT,
}


@pytest.fixture(scope="module")
def outcomes(runner: Runner) -> dict[tuple[int, str], Future[Outcome]]:
    """Each broken build with its plan, and the intact one with all of them; by seed and build."""
    jobs = [*((plan, build) for build, plan in PLANS.items())]
    jobs += [(plan, INTACT) for plan in dict.fromkeys(PLANS.values())]
    jobs += [(UNDISTURBED, polls_lost.__name__)]
    return {(plan.seed, build): runner.submit(plan, build) for plan, build in jobs}


def test_every_broken_build_has_a_plan() -> None:
    """No broken build is left out below."""
    assert PLANS.keys() == BROKEN.keys()


@pytest.mark.parametrize("build", BROKEN)
def test_a_broken_build_fails_the_check(build: str, outcomes: dict[tuple[int, str], Future[Outcome]]) -> None:
    """A broken build publishes figures that are not those of the recount, and the check says so."""
    outcome = outcomes[PLANS[build].seed, build].result()
    with pytest.raises(DiffersError, match="figures differ from the recount"):
        raise outcome.error or AssertionError(f"{build} passes: {outcome}")


@pytest.mark.parametrize("plan", dict.fromkeys(PLANS.values()), ids=lambda plan: f"plan-{plan.seed}")
def test_the_intact_build_passes_the_same_plan(
    plan: FaultPlan, outcomes: dict[tuple[int, str], Future[Outcome]]
) -> None:
    """What the broken builds fail with is not the plan: the aggregator as it is passes it."""
    outcome = outcomes[plan.seed, INTACT].result()
    if outcome.error:
        raise outcome.error
    if plan is PAUSED_TO_THE_END:
        assert outcome.woken == {"FencedError": 1}, "the woken worker was not shut out"


def test_what_a_consumer_loses_is_fetched_again(outcomes: dict[tuple[int, str], Future[Outcome]]) -> None:
    """Records that the consumer skips are noticed by the next ones, and counted: no worker has to end."""
    outcome = outcomes[UNDISTURBED.seed, polls_lost.__name__].result()
    if outcome.error:
        raise outcome.error
    assert outcome.stale > 0, f"nothing was lost by losing polls {LOST_POLLS}"
    assert not outcome.ended, "the watchdog had to end a worker"
