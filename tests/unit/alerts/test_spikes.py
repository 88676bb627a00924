"""Which minutes of a live broadcast are spikes, and how they read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from schemas.alerts import ALERT, Spike, alert_id
from services.alerts.deciding.figures import Figures
from services.alerts.deciding.rule_file import parse_rules
from services.alerts.deciding.rules import SpikeRule
from services.alerts.deciding.spikes import Burst, Detector, Spikes
from tests.support.totals import MINUTE_MS, START_MS, Change, broadcast, minute, transaction

RULE = parse_rules('[[spike]]\nname = "live"', "test").spike[0]
CALM = [20] * 15


def bursts(counts: Sequence[int], rule: SpikeRule = RULE, live_from: int = 0) -> dict[int, Burst]:
    detector = Detector(rule)
    found = {}
    for index, count in enumerate(counts):
        burst = detector.push(count, live=index >= live_from)
        if burst:
            found[index] = burst
    return found


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([*CALM, 61], {15: Burst(61, 20.0, 15)}),
        ([*CALM, 60], {}),  # three times is not more than three times
        ([10] * 15 + [49], {}),  # more than three times, but few
        ([20] * 9 + [100], {}),  # too little history
        ([20] * 10 + [100], {10: Burst(100, 20.0, 10)}),
        ([*CALM, 100, 100, 20, 20, 20, 20, 100], {15: Burst(100, 20.0, 15)}),  # one spike, with a breath
        ([*CALM, 100, 20, 20, 20, 20, 20, 100], {15: Burst(100, 20.0, 15), 21: Burst(100, 20.0, 21)}),
        ([0] * 10 + [50], {10: Burst(50, 0.0, 10)}),
        ([100] * 30 + [20] * 30 + [61], {60: Burst(61, 20.0, 30)}),  # only the last 30 minutes are looked at
    ],
)
def test_what_a_spike_is(counts: list[int], expected: dict[int, Burst]) -> None:
    """More than the factor above the median of enough minutes before, not for small counts, one per burst."""
    assert bursts(counts) == expected


def test_minutes_before_the_live_phase_are_history_only() -> None:
    """A burst in the preheat is no spike, but it is part of what the live minutes are held against."""
    assert bursts([*CALM, 100, *CALM], live_from=16) == {}
    assert bursts([*CALM, 100, *([20] * 5), 100], live_from=16) == {21: Burst(100, 20.0, 21)}


class Live:
    """A broadcast seen through the totals of some partitions."""

    def __init__(
        self,
        partitions: int = 1,
        last: dict[tuple[str, str], tuple[int, int]] | None = None,
        rules: Sequence[SpikeRule] = (RULE,),
    ) -> None:
        self.figures = Figures(partitions)
        self.spikes = Spikes(rules, last or {})
        self.offset = 0

    def see(self, *changes: Change, stream_time_ms: int, partition: int = 0) -> list[Spike]:
        self.offset += 1
        for key, value in transaction(partition, self.offset, changes, stream_time_ms):
            self.figures.feed(partition, key, value)
        return self.spikes.decide(self.figures, START_MS)


def at(number: int) -> int:
    return START_MS + number * MINUTE_MS


def closed(number: int) -> int:
    """The stream time at which minute ``number`` is closed."""
    return at(number) + 65_000


def minutes(counts: Sequence[int], first: int = 0) -> list[Change]:
    return [minute("fuxi-2026", at(first + n), count) for n, count in enumerate(counts) if count]


PHASES = broadcast("fuxi-2026", title="Fuxi Grand Ceremony", preheat=at(0), started=at(10) + 30_000)


def test_a_spike_reads_well() -> None:
    """The multiple first, then both figures and the time, then what it was made of."""
    live = Live()
    (spike,) = live.see(PHASES, *minutes([*[87] * 30, 412]), stream_time_ms=closed(30))
    assert spike.text == (
        "Live broadcast Fuxi Grand Ceremony, 22 Jun 2026: 4.7x its normal rate (412 interactions in the "
        "minute from 10:00 UTC vs 87 typical of the 30 minutes before); 412 likes [live]"
    )
    assert spike.id == alert_id("spike", "fuxi-2026", "live", 1)
    assert (spike.number, spike.observed, spike.baseline, spike.window_minutes) == (1, 412, 87.0, 30)
    assert (spike.factor, spike.occurred_at, spike.subject) == (4.74, at(30), ("fuxi-2026",))
    assert ALERT.validate_json(spike.model_dump_json()) == spike


def test_a_baseline_of_zero_has_no_factor() -> None:
    """Without a normal rate there is no multiple of it."""
    (spike,) = Live().see(PHASES, *minutes([0] * 12 + [70]), stream_time_ms=closed(12))
    assert (spike.factor, spike.baseline, spike.window_minutes) == (None, 0.0, 12)
    assert (
        "far above its normal rate (70 interactions in the minute from 09:42 UTC vs 0 typical of the 12 min"
        in spike.text
    )


def test_a_minute_is_judged_when_every_partition_has_closed_it() -> None:
    """One partition that lags holds the decision back, and its part of the minute counts."""
    live = Live(partitions=2)
    assert live.see(PHASES, *minutes([*[20] * 12, 50]), stream_time_ms=closed(12)) == []
    assert live.see(stream_time_ms=closed(12) - 1, partition=1) == []
    (spike,) = live.see(*minutes([50], first=12), stream_time_ms=closed(12), partition=1)
    assert spike.observed == 100


def test_the_series_begins_with_the_first_count_of_any_partition() -> None:
    """A partition that lags may hold the first minute: the history is not fixed before it has been seen."""
    started = broadcast("fuxi-2026", started=at(11))
    counts = minutes([20, 20, 90], first=9)
    live = Live(partitions=2)
    assert live.see(started, *counts, stream_time_ms=closed(11)) == []
    assert live.see(stream_time_ms=closed(0), partition=1) == []
    (spike,) = live.see(*minutes([1], first=1), stream_time_ms=closed(11), partition=1)
    assert spike.window_minutes == 10


def test_only_the_live_phase_has_spikes() -> None:
    """The minute in which it starts is live, a minute that begins at or after the end is not."""
    ended = broadcast("fuxi-2026", preheat=at(0), started=at(12) + 30_000, ended=at(20))
    assert Live().see(ended, *minutes([*[20] * 11, 100]), stream_time_ms=closed(30)) == []
    assert len(Live().see(ended, *minutes([*[20] * 12, 100]), stream_time_ms=closed(30))) == 1
    assert len(Live().see(ended, *minutes([*[20] * 19, 100]), stream_time_ms=closed(30))) == 1
    assert Live().see(ended, *minutes([*[20] * 20, 100]), stream_time_ms=closed(30)) == []


def test_a_broadcast_that_starts_again_goes_on() -> None:
    """A new start after an end: the minutes between are history, the spikes are numbered on."""
    live = Live()
    ended = broadcast("fuxi-2026", started=at(0), ended=at(20))
    (first,) = live.see(ended, *minutes([*[20] * 12, 100, *[20] * 30]), stream_time_ms=closed(30))
    again = broadcast("fuxi-2026", started=at(40), ended=at(20))
    (second,) = live.see(again, *minutes([100], first=41), stream_time_ms=closed(41))
    assert (first.number, second.number) == (1, 2)


def test_the_record_is_gone_on_from() -> None:
    """After a restart nothing up to the last recorded spike is decided again, and numbers go on."""
    counts = [*[20] * 12, 100, *[20] * 6, 120]
    one, two = Live().see(PHASES, *minutes(counts), stream_time_ms=closed(19))
    assert (one.number, two.number) == (1, 2)
    restarted = Live(last={("fuxi-2026", "live"): (1, one.occurred_at)})
    (found,) = restarted.see(PHASES, *minutes(counts), stream_time_ms=closed(19))
    assert found == two.model_copy(update={"as_of": found.as_of})


def test_minutes_of_yesterday_are_not_judged() -> None:
    """Long past minutes may be incomplete, so they are history at most; no false spike comes of it."""
    day_minutes = 24 * 60
    started = broadcast("fuxi-2026", started=at(0))
    counts = minutes([20] * 5 + [100], first=12)
    assert Live().see(started, *counts, stream_time_ms=closed(17 + day_minutes)) == []
    assert len(Live().see(started, *counts, stream_time_ms=closed(17))) == 1


def test_a_broadcast_without_a_rule_or_a_start_has_none() -> None:
    """Counts alone make no live broadcast, and a rule may leave one out."""
    counts = minutes([*[20] * 12, 100])
    assert Live().see(broadcast("fuxi-2026", preheat=at(0)), *counts, stream_time_ms=closed(12)) == []
    nadam = parse_rules('[[spike]]\nname = "s"\nmatch = { broadcasts = ["nadam-*"] }', "t").spike
    assert Live(rules=nadam).see(PHASES, *counts, stream_time_ms=closed(12)) == []
    assert len(Live(rules=[*nadam, RULE]).see(PHASES, *counts, stream_time_ms=closed(12))) == 1


SHARP = parse_rules('[[spike]]\nname = "sharp"\nfactor = 10\nquiet_minutes = 1', "test").spike[0]
OTHER = parse_rules(
    '[[spike]]\nname = "other"\nmin_count = 1\nmatch = { accounts = ["Other"] }', "test"
).spike[0]


def test_every_rule_that_matches_a_broadcast_decides_for_itself() -> None:
    """Two rules on one broadcast: each finds, numbers and names its own spikes; a third rule, for another
    account, finds none."""
    counts = [*[20] * 12, 100, 300, *[20] * 6, 400]
    found = Live(rules=[RULE, SHARP, OTHER]).see(PHASES, *minutes(counts), stream_time_ms=closed(20))
    assert [(each.rule, each.number, each.occurred_at) for each in found] == [
        ("live", 1, at(12)),
        ("sharp", 1, at(13)),
        ("live", 2, at(20)),
        ("sharp", 2, at(20)),
    ]
    assert len({each.id for each in found}) == 4
    assert [each.text[-7:] for each in found] == [" [live]", "[sharp]"] * 2


def test_a_second_rule_changes_nothing_of_the_first() -> None:
    """What a rule decides is the same with and without other rules, whichever comes first in the file."""
    counts = minutes([*[20] * 12, 100, 300, *[20] * 6, 400])
    alone = Live().see(PHASES, *counts, stream_time_ms=closed(20))
    for rules in ([RULE, SHARP], [SHARP, RULE]):
        both = Live(rules=rules).see(PHASES, *counts, stream_time_ms=closed(20))
        assert [each for each in both if each.rule == "live"] == alone


def test_the_record_of_each_rule_is_gone_on_from_separately() -> None:
    """After a restart a rule that has recorded its spike decides it no more; another rule's is still due."""
    counts = minutes([*[20] * 12, 300])
    live, sharp = Live(rules=[RULE, SHARP]).see(PHASES, *counts, stream_time_ms=closed(12))
    restarted = Live(rules=[RULE, SHARP], last={("fuxi-2026", "live"): (1, live.occurred_at)})
    assert restarted.see(PHASES, *counts, stream_time_ms=closed(12)) == [sharp]
