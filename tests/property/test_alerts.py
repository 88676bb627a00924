"""Laws of alerts: they follow from the log, not from when one looked at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import Spike, alert_id
from services.alerts.deciding.decided import Decided
from services.alerts.deciding.figures import ALL_ACCOUNTS, Figures, metric_value
from services.alerts.deciding.milestones import Milestones
from services.alerts.deciding.rule_file import parse_rules
from services.alerts.deciding.rules import MilestoneRule
from services.alerts.deciding.spikes import Spikes
from tests.support.totals import MINUTE_MS, START_MS, Change, broadcast, counted, minute, transaction

PARTITIONS = 3
ACCOUNTS = (("twitter", "GansuTravel"), ("twitter", "GansuHeritage"), ("facebook", "VisitGansu"))
ACTIONS = ("like", "repost", "unlike")

MILESTONE_RULES = parse_rules(
    """
    [[milestone]]
    name = "account"
    scope = "account"
    metric = "interactions"
    ladder = "1-2-5"
    from = 3
    [[milestone]]
    name = "platform"
    scope = "platform"
    metric = "like"
    thresholds = [5, 6, 40]
    [[milestone]]
    name = "all-accounts"
    scope = "all_accounts"
    metric = "interactions"
    ladder = "1-5"
    from = 10
    """,
    "test",
).milestone
SPIKE_RULES = parse_rules(
    """
    [[spike]]
    name = "s"
    factor = 2.0
    min_count = 10
    window_minutes = 6
    min_history = 3
    quiet_minutes = 2
    [[spike]]
    name = "t"
    factor = 5.0
    min_count = 20
    window_minutes = 4
    min_history = 3
    quiet_minutes = 1
    """,
    "test",
).spike

#: One event: partition, account, action, quantity.
events = st.tuples(
    st.integers(0, PARTITIONS - 1), st.sampled_from(ACCOUNTS), st.sampled_from(ACTIONS), st.integers(1, 30)
)
cuts = st.integers(1, 5)


class Partition:
    """Writes what it has counted, as the aggregator does."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.offset = -1
        self.totals: dict[tuple[str, str], Counter[str]] = {}
        self.dirty: set[tuple[str, str]] = set()

    def count(self, account: tuple[str, str], action: str, quantity: int) -> None:
        self.offset += 1
        self.totals.setdefault(account, Counter())[action] += quantity
        self.dirty.add(account)

    def flush(self) -> list[Change]:
        dirty, self.dirty = sorted(self.dirty), set()
        changes = [counted("account", *account, at_ms=START_MS, **self.totals[account]) for account in dirty]
        return transaction(self.number, self.offset, changes)


def expected_ids(stream: Iterable[tuple[int, tuple[str, str], str, int]]) -> set[str]:
    """The milestones of final totals, by the definition."""
    totals: dict[tuple[str, ...], Counter[str]] = {}
    for _, (platform, account), action, quantity in stream:
        for subject in (("account", platform, account), ("platform", platform), ALL_ACCOUNTS):
            totals.setdefault(tuple(map(str, subject)), Counter())[action] += quantity
    ids = set()
    for subject, counts in totals.items():
        for rule in MILESTONE_RULES:
            figure = metric_value(counts, rule.metric)
            steps = (rule.first or 0, *(step for each in range(figure + 1) if (step := rule.after(each))))
            if rule.scope == subject[0]:
                ids |= {alert_id("milestone", *subject, rule.metric, t) for t in steps if t <= figure}
    return ids


@given(st.lists(st.tuples(events, st.booleans(), st.booleans(), st.booleans()), max_size=60))
def test_milestones_follow_from_the_final_totals(
    steps: list[tuple[tuple[int, tuple[str, str], str, int], bool, bool, bool]],
) -> None:
    """However the totals are cut into transactions, whenever one looks, and however often the service is
    restarted in between: the same milestones, each once, at a figure that is the recount at its offsets."""
    partitions = [Partition(number) for number in range(PARTITIONS)]
    written: list[tuple[int, Change]] = []
    decided = Decided()

    def fresh() -> tuple[Figures, Milestones]:
        figures = Figures(PARTITIONS)
        for number, change in written:
            figures.feed(number, *change)
        return figures, Milestones(MILESTONE_RULES, decided)

    figures, milestones = fresh()

    def poll() -> None:
        for each in milestones.decide(figures, figures.take_changed(), 0):
            assert each.id not in decided.ids
            assert each.threshold <= each.total == recount(steps, partitions_of(each.as_of), each)
            decided.note(each)

    for (number, account, action, quantity), flush, evaluate, restart in [*steps]:
        partitions[number].count(account, action, quantity)
        if flush:
            for change in partitions[number].flush():
                written.append((number, change))
                figures.feed(number, *change)
        if restart:
            figures, milestones = fresh()
        if evaluate:
            poll()
    for partition in partitions:
        for change in partition.flush():
            figures.feed(partition.number, *change)
    poll()
    assert decided.ids == expected_ids(event for event, *_ in steps)


def partitions_of(as_of: Iterable[Any]) -> dict[int, int]:
    return {each.partition: each.offset for each in as_of}


def recount(steps: Iterable[tuple[Any, ...]], as_of: dict[int, int], milestone: Any) -> int:
    """The figure of a milestone from the events up to the offsets that it names."""
    offsets: Counter[int] = Counter()
    counts: Counter[str] = Counter()
    for (partition, account, action, quantity), *_ in steps:
        if (
            offsets[partition] <= as_of.get(partition, -1)
            and account[: len(milestone.subject)] == milestone.subject
        ):
            counts[action] += quantity
        offsets[partition] += 1
    return metric_value(counts, milestone.metric)


# -- spikes -------------------------------------------------------------------------------------------------

calm = st.tuples(*[st.integers(0, 3)] * PARTITIONS)
burst = st.tuples(*[st.integers(8, 40)] * PARTITIONS)
#: Counts of each partition per minute: mostly calm.
counts = st.lists(st.one_of(calm, calm, burst), min_size=6, max_size=25)


def spike_facts(spikes: Iterable[Spike]) -> list[tuple[Any, ...]]:
    return [(s.id, s.number, s.occurred_at, s.observed, s.baseline, s.window_minutes) for s in spikes]


def at(number: int) -> int:
    return START_MS + number * MINUTE_MS


@given(counts, st.integers(0, 8), st.integers(5, 20), st.data())
def test_spikes_follow_from_the_minutes(
    series: list[tuple[int, ...]], started: int, lasts: int, data: st.DataObject
) -> None:
    """However the partitions lag behind each other, whenever the service looks, and however often it is
    restarted: the same spikes of each rule, with the same numbers and figures, as that rule alone finds in
    the whole series at once. No two have one id."""
    phases = broadcast("b", started=at(started) + 1, ended=at(started + lasts) + 1)

    def flush(number: int, through: int, first: int) -> list[Change]:
        """What partition ``number`` writes when minutes ``first`` to ``through`` have closed."""
        changes = [
            minute("b", at(m), series[m][number]) for m in range(first, through + 1) if series[m][number]
        ]
        if number == 0 and first <= started <= through + 1:
            changes.append(phases)
        return transaction(number, through, changes, at(through) + 65_000)

    def whole() -> Figures:
        figures = Figures(PARTITIONS)
        for number in range(PARTITIONS):
            for change in flush(number, len(series) - 1, 0):
                figures.feed(number, *change)
        return figures

    expected = [spike for rule in SPIKE_RULES for spike in Spikes([rule], {}).decide(whole(), 0)]
    written: list[tuple[int, Change]] = []
    figures = Figures(PARTITIONS)
    last: dict[tuple[str, str], tuple[int, int]] = {}
    spikes, found = Spikes(SPIKE_RULES, last), list[Spike]()
    progress = [0] * PARTITIONS
    while min(progress) < len(series):
        behind = [number for number in range(PARTITIONS) if progress[number] < len(series)]
        number = data.draw(st.sampled_from(behind))
        through = min(progress[number] + data.draw(cuts) - 1, len(series) - 1)
        for change in flush(number, through, progress[number]):
            written.append((number, change))
            figures.feed(number, *change)
        progress[number] = through + 1
        if data.draw(st.booleans()):
            figures = Figures(PARTITIONS)
            for partition, change in written:
                figures.feed(partition, *change)
            spikes = Spikes(SPIKE_RULES, last)
        if data.draw(st.booleans()) or min(progress) == len(series):
            for spike in spikes.decide(figures, 0):
                last["b", spike.rule] = (spike.number, spike.occurred_at)
                found.append(spike)
    assert sorted(spike_facts(found)) == sorted(spike_facts(expected))
    assert len({spike.id for spike in found}) == len(found)


# -- ladders ------------------------------------------------------------------------------------------------

digits = st.sets(st.integers(2, 9)).map(lambda found: (1, *sorted(found)))


@given(digits, st.integers(1, 10**6), st.integers(0, 10**7))
def test_a_ladder_leaves_out_no_step(ladder: tuple[int, ...], start: int, value: int) -> None:
    """`after` gives the least step above a value, of all that there are."""
    rule = MilestoneRule.model_validate(
        {
            "name": "x",
            "scope": "all_accounts",
            "metric": "like",
            "ladder": "-".join(map(str, ladder)),
            "from": start,
        }
    )
    every = [digit * 10**power for power in range(9) for digit in ladder]
    assert rule.after(value) == min(step for step in every if step > value and step >= start)
