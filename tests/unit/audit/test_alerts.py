"""Alerts against a recount: their figures, who crossed, what is false, doubled or missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.alerts import alert_id
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState
from services.alerts.deciding.decided import Decided
from services.alerts.deciding.figures import Figures
from services.alerts.deciding.milestones import Milestones
from services.alerts.deciding.rule_file import parse_rules
from services.alerts.deciding.spikes import Spikes
from services.audit import export as export_module
from services.audit.recounting.examine import audit_export
from services.audit.recounting.result import AuditResult, Window
from tests.support.audit_stream import START_MS, Stream, random_stream

MINUTE_MS = 60_000
RULES = """
[[milestone]]
name = "account-likes"
scope = "account"
metric = "like"
ladder = "1-2-5"
from = 10
to = 100
"""
#: Twice the time after which a missing alert is missing for sure.
LONG_AFTER_MS = START_MS + 10**9


@pytest.fixture(autouse=True)
def _read_long_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are read long after their events, unless a test says otherwise."""
    monkeypatch.setattr(export_module, "_now_ms", lambda: LONG_AFTER_MS)


def like(number: int, **changes: Any) -> dict[str, Any]:
    """An event with an id of its own."""
    return {
        "kind": "interaction",
        "v": 1,
        "event_id": f"e{number}",
        "occurred_at": START_MS + number,
        "platform": "twitter",
        "account": "GansuTravel",
        "action": "like",
        **changes,
    }


def reading(number: int, value: int, account: str = "GansuTravel", **changes: Any) -> dict[str, Any]:
    """The followers of an account as its platform reports them."""
    return {
        "kind": "reading",
        "v": 1,
        "event_id": f"r{number}",
        "occurred_at": START_MS + number,
        "platform": "twitter",
        "account": account,
        "metric": "followers",
        "value": value,
        **changes,
    }


async def audited(
    stream: Stream, tmp_path: Path, window: Window | None = None, **settings: Any
) -> AuditResult:
    """The audit of an export of the stream."""
    await stream.export(tmp_path / "export", **settings)
    return audit_export(tmp_path / "export", window)


def lines(result: AuditResult) -> list[str]:
    """What differs, line by line."""
    return [difference.line for difference in result.differences]


def liked(count: int = 12) -> Stream:
    """A stream in which GansuTravel got some likes, three to a record, in turn in two partitions."""
    stream = Stream(partitions=2, rules=RULES)
    for number in range(0, count, 3):
        batch = [like(n) for n in range(number, min(number + 3, count))]
        stream.append(number // 3 % 2, batch, START_MS + number)
    return stream


ACCOUNT = ("account", ["twitter", "GansuTravel"], "like")


# -- milestones ---------------------------------------------------------------------------------------------


async def test_a_right_milestone_agrees_and_its_event_is_found(tmp_path: Path) -> None:
    """The tenth like in order of record time crossed 10, whichever partition it is in."""
    stream = liked(12)
    stream.milestone(*ACCOUNT, 10, 12, occurred_at=START_MS)
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    (milestone,) = result.milestones
    assert (milestone.total, milestone.recounted) == (12, 12)
    assert milestone.crossing is not None
    assert (milestone.crossing.event_id, milestone.crossing.partition) == ("e9", 1)
    assert (milestone.crossing.offset, milestone.crossing.index) == (1, 0)


async def test_the_figure_is_recounted_at_the_offsets_of_the_alert(tmp_path: Path) -> None:
    """A milestone decided before the end of the log is compared with the figure that it was decided from."""
    stream = liked(30)
    stream.milestone(*ACCOUNT, 20, 30, occurred_at=START_MS)
    as_of = [{"partition": 0, "offset": 2}, {"partition": 1, "offset": 0}]
    stream.milestone(*ACCOUNT, 10, 12, occurred_at=START_MS, as_of=as_of)
    assert lines(await audited(stream, tmp_path)) == []


async def test_a_wrong_figure_is_named_with_its_size(tmp_path: Path) -> None:
    """Published 13, recounted 12."""
    stream = liked(12)
    stream.milestone(*ACCOUNT, 10, 13, occurred_at=START_MS)
    assert lines(await audited(stream, tmp_path)) == [
        "DIFFERS  milestone account twitter GansuTravel like 10: published 13, recounted 12 (+1) "
        "at its offsets"
    ]


async def test_a_forged_milestone_is_false(tmp_path: Path) -> None:
    """The log never reached it, whatever total it claims."""
    stream = liked(9)
    stream.milestone(*ACCOUNT, 10, 10, occurred_at=START_MS)
    stream.milestone("hashtag", ["fuxiceremony"], "like", 1000, 1000)
    result = await audited(stream, tmp_path)
    assert lines(result) == [
        "FALSE    milestone account twitter GansuTravel like 10: not reached: published 10, recounted 9 (+1) "
        "at its offsets",
        "FALSE    milestone hashtag #fuxiceremony like 1,000: not reached: published 1,000, recounted 0 "
        "(+1,000) at its offsets",
    ]
    assert [milestone.crossing for milestone in result.milestones] == [None, None]


async def test_a_milestone_decided_twice_is_named(tmp_path: Path) -> None:
    """Two records under one id, even the same ones, are one decision too many."""
    stream = liked(12)
    stream.alerts.append(stream.milestone(*ACCOUNT, 10, 12, occurred_at=START_MS))
    result = await audited(stream, tmp_path)
    assert lines(result) == [
        "TWICE    milestone account twitter GansuTravel like 10: decided 2 times, at offsets 0, 1"
    ]
    assert len(result.milestones) == 1


async def test_an_id_that_is_not_its_own_is_named(tmp_path: Path) -> None:
    """An alert under another id would be delivered twice."""
    stream = liked(12)
    stream.milestone(*ACCOUNT, 10, 12, occurred_at=START_MS, id="f00d")
    own = alert_id("milestone", "account", "twitter", "GansuTravel", "like", 10)
    found = lines(await audited(stream, tmp_path))
    assert found[0] == (
        "DIFFERS  milestone account twitter GansuTravel like 10: its id is f00d, but its id should be "
        f"{own} (alert at offset 0)"
    )


async def test_a_missing_milestone_is_named_with_the_event_that_reached_it(tmp_path: Path) -> None:
    """Every step of the ladder up to the figure has to be published, and none above `to`."""
    stream = liked(300)
    stream.milestone(*ACCOUNT, 20, 300, occurred_at=START_MS)
    found = lines(await audited(stream, tmp_path))
    assert [line.split(": reached")[0] for line in found] == [
        "MISSING  milestone account twitter GansuTravel like 10",
        "MISSING  milestone account twitter GansuTravel like 50",
        "MISSING  milestone account twitter GansuTravel like 100",
    ]
    assert "reached by event e99 at 2026-06-21T23:20:00.099Z, recounted 300" in found[2]


async def test_what_was_only_just_reached_may_still_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If its record is younger than the time for a decision, a missing milestone is a note, and awaited."""
    monkeypatch.setattr(export_module, "_now_ms", lambda: START_MS + 20_000)
    result = await audited(liked(12), tmp_path)
    assert (result.verdict, result.awaited) == ("AGREES, WITH NOTES", 1)
    assert "not yet decided" in result.notes[0]


async def test_alerts_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A record that is no alert, or holds impossible numbers, is one difference and stops nothing."""
    stream = liked(9)
    stream.milestone(*ACCOUNT, 10, 10)
    stream.alerts[0] |= {"threshold": 10**30}
    stream.alerts.append({"id": "x", "decided_at": START_MS, "kind": "poem"})
    found = lines(await audited(stream, tmp_path))
    assert [line[:41] for line in found] == [
        "DIFFERS  alert at offset 0: cannot be rea",
        "DIFFERS  alert at offset 1: cannot be rea",
    ]


async def test_offsets_beyond_the_log_are_named(tmp_path: Path) -> None:
    """An alert that stands where the log is not cannot have been decided from it."""
    stream = liked(12)
    as_of = [{"partition": 0, "offset": 1}, {"partition": 1, "offset": 900}]
    stream.milestone(*ACCOUNT, 10, 12, occurred_at=START_MS, as_of=as_of)
    assert lines(await audited(stream, tmp_path)) == [
        "DIFFERS  milestone account twitter GansuTravel like 10: it stands at offsets that the log does not "
        "have in partition 1"
    ]


async def test_time_and_top_contributors_are_recounted_too(tmp_path: Path) -> None:
    """The event time and what drove the figure are published figures as well."""
    stream = liked(12)
    top_contributors = [{"name": "like", "count": 11}]
    stream.milestone(*ACCOUNT, 10, 12, occurred_at=START_MS + 5000, top_contributors=top_contributors)
    assert lines(await audited(stream, tmp_path)) == [
        "DIFFERS  milestone account twitter GansuTravel like 10: published time 2026-06-21T23:20:05.000Z, "
        "recounted 2026-06-21T23:20:00.000Z",
        "DIFFERS  milestone account twitter GansuTravel like 10: "
        "top contributor like: published 11, recounted 12 "
        "(-1)",
    ]


async def test_readings_count_by_the_last_one_in_time(tmp_path: Path) -> None:
    """An older reading than the last one changes nothing; a sum over accounts takes each one's last."""
    stream = Stream(partitions=1)
    values = [(10, 90), (20, 120), (15, 5000), (30, 110), (40, 130)]
    stream.append(0, [reading(at, value) for at, value in values], START_MS)
    stream.append(0, [reading(50, 900, "GansuHeritage")], START_MS + 1)
    newest, summed = START_MS + 40, START_MS + 50
    stream.milestone(*ACCOUNT[:2], "reading:followers", 100, 130, occurred_at=newest)
    top = [{"name": "twitter:GansuHeritage", "count": 900}, {"name": "twitter:GansuTravel", "count": 130}]
    stream.milestone(
        "all_accounts", [], "reading:followers", 1000, 1030, occurred_at=summed, top_contributors=top
    )
    stream.milestone("platform", ["twitter"], "reading:followers", 1000, 1031, occurred_at=summed)
    result = await audited(stream, tmp_path)
    assert lines(result) == [
        "DIFFERS  milestone platform twitter reading:followers 1,000: published 1,031, recounted 1,030 (+1) "
        "at its offsets"
    ]
    crossed = [milestone.crossing and milestone.crossing.event_id for milestone in result.milestones]
    assert crossed == ["r20", "r50", "r50"]


async def test_rules_are_for_the_subjects_that_they_match(tmp_path: Path) -> None:
    """Globs of platforms, accounts, hashtags of any alias, campaigns; a post is matched by its account."""
    rules = "".join(
        f'[[milestone]]\nname = "{scope}"\nscope = "{scope}"\nmetric = "like"\nthresholds = [2]\n'
        f"match = {{ {match} }}\n"
        for scope, match in {
            "account": 'accounts = ["twitter:Gansu*"]',
            "platform": 'platforms = ["face*"]',
            "post": 'accounts = ["VisitGansu"]',
            "hashtag": 'hashtags = ["#文化和自然遗产日"]',
            "campaign": 'campaigns = ["fuxi-*"]',
        }.items()
    )
    stream = Stream(partitions=1, rules=rules)
    names = {"hashtags": ["gansuheritage", "fuxiceremony"], "campaign": "fuxi-ceremony-2026", "post_id": "p1"}
    stream.append(0, [like(n, **names) for n in range(2)])
    names = {
        "platform": "facebook",
        "account": "VisitGansu",
        "campaign": "linxia-apricot-2026",
        "post_id": "p2",
    }
    stream.append(0, [like(n, **names) for n in range(5, 7)])
    aliases = {"GansuHeritage": ("文化和自然遗产日",)}
    found = lines(await audited(stream, tmp_path, hashtag_aliases=aliases))
    assert [line.split(": reached")[0].removeprefix("MISSING  milestone ") for line in found] == [
        "account twitter GansuTravel like 2",
        "platform facebook like 2",
        "post facebook p2 like 2",
        "hashtag #gansuheritage like 2",
        "campaign fuxi-ceremony-2026 like 2",
    ]


async def test_a_window_limits_which_alerts_are_checked(tmp_path: Path) -> None:
    """Alerts outside of it are neither checked nor missed; totals are compared all the same."""
    stream = liked(12)
    stream.milestone(*ACCOUNT, 10, 99, occurred_at=START_MS)
    assert lines(await audited(stream, tmp_path, Window(from_ms=START_MS + 1000))) == []
    assert len(lines(await audited(stream, tmp_path, Window(to_ms=START_MS + 1000)))) == 1


# -- spikes -------------------------------------------------------------------------------------------------

SPIKE_RULE = '[[spike]]\nname = "live"\nfactor = 3.0\nmin_count = 50\nmin_history = 5\nquiet_minutes = 2\n'


def broadcast(counts: list[int], *, started: int = 2, ended: int | None = None) -> Stream:
    """A broadcast with so many likes in each minute, from a minute of preheat on."""
    stream, number = Stream(partitions=2, rules=SPIKE_RULE), 0
    phases = {"preheat": 0, "started": started} | ({} if ended is None else {"ended": ended})
    for minute, count in enumerate(counts):
        start_ms = START_MS + minute * MINUTE_MS
        batch = [
            {"kind": "broadcast", "v": 1, "event_id": f"b{phase}", "occurred_at": start_ms,
             "platform": "twitter", "account": "GansuTravel", "broadcast_id": "fuxi-2026", "phase": phase}
            for phase, at in phases.items() if at == minute
        ]  # fmt: skip
        stream.append(0, batch, start_ms)
        for _ in range(count):
            event = like(number, occurred_at=start_ms + 100, broadcast_id="fuxi-2026")
            stream.append(number % 2, event, start_ms + 200)
            number += 1
        clock = {"kind": "clock", "v": 1, "stream_time": start_ms + 65_000, "source": "event"}
        for partition in range(2):
            stream.append(partition, clock, start_ms + 65_000)
    return stream


def spike(stream: Stream, number: int, minute: int, observed: int, baseline: float, **changes: Any) -> None:
    """Publish a spike of rule `live` (or of another) as of the end of the log."""
    rule = changes.get("rule", "live")
    stream.alerts.append(
        {
            "id": alert_id("spike", "fuxi-2026", rule, number),
            "v": 1,
            "kind": "spike",
            "rule": "live",
            "scope": "broadcast",
            "subject": ["fuxi-2026"],
            "metric": "interactions",
            "occurred_at": START_MS + minute * MINUTE_MS,
            "decided_at": START_MS,
            "top_contributors": [{"name": "like", "count": observed}],
            "as_of": stream.as_of(),
            "text": "a spike",
            "number": number,
            "observed": observed,
            "baseline": baseline,
            "window_minutes": minute,
            "factor": round(observed / baseline, 2) if baseline else None,
            **changes,
        }
    )


BURST = [10, 10, 12, 8, 10, 10, 10, 90, 80, 10, 10, 70, 10]


async def test_right_spikes_agree(tmp_path: Path) -> None:
    """A burst is one spike however long it lasts; after calm minutes the next burst is another."""
    stream = broadcast(BURST)
    spike(stream, 1, 7, 90, 10.0)
    spike(stream, 2, 11, 70, 10.0)
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    assert [(each.number, each.observed, each.baseline) for each in result.spikes] == [
        (1, 90, 10.0),
        (2, 70, 10.0),
    ]


async def test_missing_false_and_wrong_spikes_are_named(tmp_path: Path) -> None:
    """One with a wrong count, one that is not there, one that nobody published."""
    stream = broadcast(BURST)
    spike(stream, 1, 7, 91, 10.0)
    spike(stream, 3, 9, 10, 10.0)
    assert lines(await audited(stream, tmp_path)) == [
        "DIFFERS  spike fuxi-2026 live number 1: published observed 91, recounted 90",
        "DIFFERS  spike fuxi-2026 live number 1: published factor 9.10, recounted 9.00",
        "DIFFERS  spike fuxi-2026 live number 1: top contributor like: published 91, recounted 90",
        "FALSE    spike fuxi-2026 live number 3: the log shows 2 spikes at its offsets",
        "MISSING  spike fuxi-2026 live number 2: the minute from 2026-06-21T23:31:00.000Z had 70 against a "
        "median of 10.0, but was never published",
    ]


async def test_a_spike_before_its_minute_had_closed_is_false(tmp_path: Path) -> None:
    """An open minute may still change, so a spike that stands before the end of its minute is false."""
    stream = broadcast([*BURST[:8]])
    spike(stream, 1, 7, 90, 10.0, as_of=[{"partition": 0, "offset": 0}, {"partition": 1, "offset": 0}])
    assert lines(await audited(stream, tmp_path)) == [
        "FALSE    spike fuxi-2026 live number 1: the log shows 0 spikes at its offsets"
    ]


async def test_minutes_outside_the_live_phase_are_no_spikes(tmp_path: Path) -> None:
    """Before the start and after the end of a broadcast there are no spikes."""
    assert lines(await audited(broadcast(BURST, started=9, ended=11), tmp_path)) == []


SHARP_RULE = '[[spike]]\nname = "sharp"\nfactor = 8.5\nmin_history = 5\nquiet_minutes = 1\n'


@pytest.mark.parametrize("rules", [SPIKE_RULE + SHARP_RULE, SHARP_RULE + SPIKE_RULE])
async def test_each_rule_is_recounted_by_itself(rules: str, tmp_path: Path) -> None:
    """Two rules match one broadcast: the spikes of each are numbered and compared by its own rule, whichever
    comes first in the file."""
    stream = broadcast(BURST)
    stream.rules = rules
    spike(stream, 1, 7, 90, 10.0)
    spike(stream, 2, 11, 70, 10.0)
    spike(stream, 1, 7, 90, 10.0, rule="sharp")
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    assert sorted((each.rule, each.number) for each in result.spikes) == [
        ("live", 1),
        ("live", 2),
        ("sharp", 1),
    ]


async def test_a_spike_that_a_second_rule_should_have_found_is_missing(tmp_path: Path) -> None:
    """That another rule has reported the same minute does not excuse it."""
    stream = broadcast(BURST[:9])
    stream.rules = SPIKE_RULE + SHARP_RULE
    spike(stream, 1, 7, 90, 10.0)
    assert lines(await audited(stream, tmp_path)) == [
        "MISSING  spike fuxi-2026 sharp number 1: the minute from 2026-06-21T23:27:00.000Z had 90 against a "
        "median of 10.0, but was never published"
    ]


async def test_a_spike_of_another_rule_is_false(tmp_path: Path) -> None:
    """A spike under the name of a rule that does not find it, or that the rule file does not have, or with
    another metric than its rule's."""
    stream = broadcast(BURST[:9])
    stream.rules = SPIKE_RULE + SHARP_RULE.replace("8.5", "9.5")
    spike(stream, 1, 7, 90, 10.0, metric="comment")
    spike(stream, 1, 7, 90, 10.0, rule="sharp")
    spike(stream, 1, 7, 90, 10.0, rule="made-up")
    assert lines(await audited(stream, tmp_path)) == [
        "DIFFERS  spike fuxi-2026 live number 1: published metric comment, the rule's is interactions",
        "FALSE    spike fuxi-2026 sharp number 1: the log shows 0 spikes at its offsets",
        "FALSE    spike fuxi-2026 made-up number 1: the rule file has no spike rule made-up",
    ]


# -- the service itself -------------------------------------------------------------------------------------

ALL_RULES = """
[[milestone]]
name = "all-accounts"
scope = "all_accounts"
metric = "interactions"
ladder = "1-2-5"
from = 100

[[milestone]]
name = "platform"
scope = "platform"
metric = "reading:followers"
ladder = "1-5"
from = 500

[[milestone]]
name = "account"
scope = "account"
metric = "interactions"
ladder = "1-2-5"
from = 50
match = { platforms = ["twitter", "insta*"] }

[[milestone]]
name = "account-followers"
scope = "account"
metric = "reading:followers"
thresholds = [100, 300, 700]

[[milestone]]
name = "post"
scope = "post"
metric = "like"
ladder = "1-3"
from = 10
match = { accounts = ["Gansu*"] }

[[milestone]]
name = "hashtag"
scope = "hashtag"
metric = "interactions"
ladder = "1"
from = 10

[[milestone]]
name = "campaign"
scope = "campaign"
metric = "interactions"
ladder = "1-5"
from = 10

[[milestone]]
name = "country"
scope = "country"
metric = "interactions"
ladder = "1-5"
from = 10
match = { countries = ["C*"] }

[[milestone]]
name = "format"
scope = "format"
metric = "post"
thresholds = [1, 5]

[[milestone]]
name = "vip"
scope = "vip"
metric = "like"
ladder = "1"
from = 1

[[milestone]]
name = "broadcast"
scope = "broadcast"
metric = "interactions"
ladder = "1-5"
from = 10
match = { broadcasts = ["fuxi-*"] }

[[spike]]
name = "live"
factor = 1.1
min_count = 5
min_history = 1
window_minutes = 5

[[spike]]
name = "comments"
metric = "comment"
factor = 1.2
min_count = 1
min_history = 2
window_minutes = 4
quiet_minutes = 1
"""


def decide(stream: Stream, *, every: int) -> None:
    """Publish what the alerts service decides from what the aggregator's states publish, flush by flush."""
    rules = parse_rules(ALL_RULES, "rules")
    decided = Decided()
    figures = Figures(stream.partitions)
    milestones, spikes = Milestones(rules.milestone, decided), Spikes(rules.spike, {})
    states = {p: PartitionState(p, DedupWindow(*stream.dedup_window)) for p in stream.log}
    records = sorted((r for log in stream.log.values() for r in log), key=lambda r: r.timestamp_ms)
    for number, record in enumerate(records, 1):
        state = states[record.partition]
        state.apply(record.offset, record.value)
        if number % every and number < len(records) - stream.partitions:
            continue
        for key, value in take_changes(state):
            figures.feed(record.partition, key, value)
        changed = figures.take_changed()
        for decide_these in (
            lambda: milestones.retract(figures, changed, START_MS),  # noqa: B023
            lambda: milestones.decide(figures, changed, START_MS),  # noqa: B023
            lambda: spikes.decide(figures, START_MS),
        ):
            for alert in decide_these():
                decided.note(alert)
                stream.alerts.append(json.loads(alert.model_dump_json()))


@pytest.mark.parametrize("seed", range(4))
async def test_the_alerts_service_agrees(seed: int, tmp_path: Path) -> None:
    """Whenever it evaluates, every alert that the service decides is right, once, and none is missing."""
    stream = random_stream(seed, events=1500, started_once=True)
    for partition in stream.log:  # the last record of each partition, so that each is flushed at the end
        stream.append(partition, {"kind": "clock", "v": 1, "stream_time": START_MS, "source": "event"}, 2**41)
    stream.rules = ALL_RULES
    decide(stream, every=seed * 3 + 1)
    result = await audited(stream, tmp_path)
    assert lines(result) == []
    assert {milestone.scope for milestone in result.milestones} == {
        "all_accounts", "platform", "account", "post", "hashtag", "campaign", "country", "format", "vip",
        "broadcast",
    }  # fmt: skip
    assert len(result.milestones) > 40
    assert {each.rule for each in result.spikes} == {"live", "comments"}
    assert all(milestone.crossing for milestone in result.milestones)
