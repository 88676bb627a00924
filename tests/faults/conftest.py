"""The runner of the scenarios, and the report at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest

from tests.faults.plan import POINTS, draw_plan
from tests.faults.runner import BROKER_GROUP, Runner
from tests.faults.scenario_run import Outcome

#: As many as CI runs; `make soak` runs 300.
SEEDS = 30
OUTCOMES = pytest.StashKey[dict[int, Outcome]]()
LINES = pytest.StashKey[list[str]]()
#: The outcome of a seed, as soon as it is known.
OutcomeOf = Callable[[int], Outcome]
#: Seeds are reported in order, but those with a broker of their own end last: until then a line says so.
SAY_SO_SECONDS = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """--seed and --seeds."""
    parser.addoption("--seed", type=int, action="append", help="run this seed of the fault suite; repeatable")
    parser.addoption("--seeds", type=int, default=SEEDS, help="run so many seeds of the fault suite")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument `seed` runs once for each seed."""
    if "seed" in metafunc.fixturenames:
        # Without a path on the command line this file is read too late for its options; then all is as in CI.
        chosen: list[int] | None = metafunc.config.getoption("--seed", None)
        many: int = metafunc.config.getoption("--seeds", SEEDS)
        metafunc.parametrize("seed", chosen or range(1, many + 1))


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A runner; its brokers are not started yet."""
    with Runner(tmp_path_factory.mktemp("faults")) as started:
        yield started


@pytest.fixture(scope="session")
def outcome_of(request: pytest.FixtureRequest, runner: Runner) -> OutcomeOf:
    """Submits all seeds that are tested; gives the outcome of one when it is asked for."""
    known = request.config.stash.setdefault(OUTCOMES, {})
    callspecs = (getattr(item, "callspec", None) for item in request.session.items)
    seeds = [spec.params["seed"] for spec in callspecs if spec is not None and "seed" in spec.params]
    plans = [draw_plan(seed) for seed in dict.fromkeys(seeds)]
    victims = [plan for plan in plans if plan.with_broker]
    groups: dict[int, Future[dict[int, Outcome]]] = {}
    for at in range(0, len(victims), BROKER_GROUP):
        group = runner.submit_group(victims[at : at + BROKER_GROUP])
        groups |= {plan.seed: group for plan in victims[at : at + BROKER_GROUP]}
    alone = {plan.seed: runner.submit(plan) for plan in plans if not plan.with_broker}

    jobs: dict[int, Future[Any]] = {**groups, **alone}

    def outcome(seed: int) -> Outcome:
        while wait([jobs[seed]], SAY_SO_SECONDS).not_done:
            finished = sum(job.done() for job in jobs.values())
            print(f"\nwaiting for seed {seed}; {finished} of {len(jobs)} are finished", end=" ")  # noqa: T201
        known[seed] = alone[seed].result() if seed in alone else groups[seed].result()[seed]
        return known[seed]

    return outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that ran tests for another (pytest-xdist) hands it the lines of the summary."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["faults"] = _summary(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take such lines."""
    node.config.stash.setdefault(LINES, []).extend(getattr(node, "workeroutput", {}).get("faults", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What has been done to the aggregator in all runs together."""
    lines = [*config.stash.get(LINES, []), *_summary(config)]
    if lines:
        terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)


def _summary(config: pytest.Config) -> list[str]:
    outcomes = list(config.stash.get(OUTCOMES, {}).values())
    return list(report(outcomes)) if outcomes else []


def report(outcomes: list[Outcome]) -> Iterator[str]:
    """Lines of the summary."""
    strikes = [strike for outcome in outcomes for strike in outcome.strikes]
    kills = [busy for outcome in outcomes for busy in outcome.kills()]
    failed = [outcome.plan.seed for outcome in outcomes if outcome.error]
    events = sum(outcome.events for outcome in outcomes)
    yield (
        f"{len(outcomes)} seeds, {len(failed)} failed{f' {failed}' if failed else ''}; {events} events; "
        f"{len(kills)} kills of a worker, {sum(kills)} of one that was processing"
    )
    for kind in POINTS:
        hits = [hit for name, hit in strikes if name == kind]
        busy = "" if kind.startswith("broker") else f", processing: {sum(hits)}"
        yield f"  {kind:27} {len(hits):4}{busy}"
    woken = sum((outcome.woken for outcome in outcomes), Counter())
    ended = sum((outcome.ended for outcome in outcomes), Counter())
    yield f"  woken workers: {dict(woken)}; workers that ended themselves, by status: {dict(ended)}"
