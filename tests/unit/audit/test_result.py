"""What an audit says, and how."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.audit.recounting.differences import Difference
from services.audit.recounting.milestones import Crossing, Milestone
from services.audit.recounting.result import AuditResult, Counts, Total, Window, verdict_line
from services.audit.recounting.rules import RuleFileError, read_rules, rules_text
from services.audit.recounting.spikes import Spike
from services.audit.recounting.summary import summary

RESULT = AuditResult(
    "fuxi",
    "2026-06-22T12:00:00.000+00:00",
    Counts(events=5, counted=4, duplicates=1, late=2, figures=9, rolling=3),
    (),
)
FIGURE = Difference(
    "figure", "DIFFERS", "account x like: published 2, recounted 1 (+1)", published=2, recounted=1
)
CROSSING = Crossing("e9", 2, 1204, 3, 1_782_120_600_000, 1_782_120_601_000)
MILESTONE = Milestone(
    "id", "account", ("twitter", "GansuTravel"), "like", 10, 12, 12, 1_782_120_600_000, CROSSING
)


@pytest.mark.parametrize(
    ("result", "line", "exact"),
    [
        (RESULT, "VERDICT: AGREES", True),
        (replace(RESULT, notes=("late",)), "VERDICT: AGREES, WITH NOTES", True),
        (replace(RESULT, differences=(FIGURE,), notes=("late",)), "VERDICT: DIFFERS (1 figure)", False),
        (
            replace(RESULT, differences=(FIGURE, FIGURE, replace(FIGURE, kind="milestone"))),
            "VERDICT: DIFFERS (2 figures, 1 milestone)",
            False,
        ),
        (
            replace(RESULT, obstacle="offsets 0 to 9 are missing", differences=(FIGURE,)),
            "VERDICT: CANNOT BE DETERMINED (offsets 0 to 9 are missing)",
            False,
        ),
    ],
)
def test_the_verdict_says_what_holds(result: AuditResult, line: str, exact: bool) -> None:
    """Four verdicts; only those that agree are exact."""
    assert verdict_line(result) == line
    assert result.exact is exact
    assert list(summary(result))[-1] == line


def test_the_summary_says_what_was_compared() -> None:
    """How many events there are and of what sort, how many totals and rolling counts were compared, how many
    alerts."""
    text = list(summary(RESULT))
    assert text[1:5] == [
        "  log         5 events: 4 count (2 too late for rolling counts), 1 duplicates; "
        "0 entries are not events",
        "  as of       nothing is published",
        "  totals      9 figures compared",
        "  rolling     3 counts compared, in buckets of a second to ten minutes",
    ]


def test_the_summary_is_bounded() -> None:
    """Of a thousand differences the first are shown, and how many more there are."""
    lines = list(summary(replace(RESULT, differences=(FIGURE,) * 1000), limit=3))
    assert sum(line.startswith("DIFFERS") for line in lines) == 3
    assert "         and 997 more; --report FILE has all" in lines


def test_the_summary_says_which_event_crossed() -> None:
    """A milestone has a line with the event that crossed it and its address."""
    (line,) = [line for line in summary(replace(RESULT, milestones=(MILESTONE,))) if "crossed" in line]
    assert line == (
        "  milestone account twitter GansuTravel like 10: 12; crossed by event e9 of "
        "2026-06-22T09:30:00.000Z (partition 2, offset 1,204, index 3)"
    )


def test_the_report_has_everything() -> None:
    """All of it as JSON, times and totals as numbers."""
    result = replace(
        RESULT,
        as_of=({"partition": 0, "offset": 7},),
        differences=(FIGURE,) * 300,
        milestones=(MILESTONE,),
        spikes=(Spike("s", "fuxi-2026", "live", 1, 1_782_120_600_000, 90, 10.0, 7),),
        window=Window(1, None),
        window_totals=(
            Total("account", ("twitter", "GansuTravel"), "like", 4),
            Total("hashtag", ("x",), "like", 2),
        ),
        seconds=1.23456,
    )
    report = json.loads(json.dumps(result.as_json()))
    assert (report["verdict"], report["exact"], report["seconds"]) == ("DIFFERS", False, 1.235)
    assert (report["events"], report["counted"], report["duplicates"]) == (5, 4, 1)
    assert (report["late"], report["figures"], report["rolling"]) == (2, 9, 3)
    assert len(report["differences"]) == 300
    assert report["differences"][0]["difference"] == 1
    assert report["milestones"][0]["crossed_by"] == {
        "event_id": "e9", "partition": 2, "offset": 1204, "index": 3, "occurred_at": 1_782_120_600_000,
        "recorded_at": 1_782_120_601_000,
    }  # fmt: skip
    assert (report["spikes"][0]["rule"], report["spikes"][0]["observed"]) == ("live", 90)
    assert report["window"] == {"from": 1, "to": None}
    assert report["window_totals"] == [
        {"platform": "twitter", "account": "GansuTravel", "action": "like", "total": 4},
        {"hashtag": "x", "action": "like", "total": 2},
    ]


@pytest.mark.parametrize(
    ("table", "value", "thresholds"),
    [
        ('ladder = "1-2-5"\nfrom = 1000', 12_000, [1000, 2000, 5000, 10_000]),
        ('ladder = "1-2-5"\nfrom = 300\nto = 2000', 10**9, [500, 1000, 2000]),
        ('ladder = "1"\nfrom = 1', 0, []),
        ("thresholds = [7, 9]", 8, [7]),
    ],
)
def test_ladders_have_steps(table: str, value: int, thresholds: list[int]) -> None:
    """The leading digits of each power of ten, from the lowest to the highest, or a list."""
    rules = read_rules(f'[[milestone]]\nname = "a"\nscope = "all_accounts"\nmetric = "like"\n{table}\n')
    assert list(rules.milestones[0].thresholds(value)) == thresholds


def test_the_rules_that_come_with_fanpulse_are_read() -> None:
    """Without a setting the packaged file is used, and all of it is understood."""
    text = rules_text(None)
    rules = read_rules(text)
    assert len(rules.milestones) == text.count("\n[[milestone]]")
    assert len(rules.spikes) == text.count("\n[[spike]]") > 0


def test_a_rule_file_that_cannot_be_read_is_one_line() -> None:
    """Not TOML, or without what a rule needs."""
    for text in ("[[milestone]", '[[milestone]]\nname = "a"\n', "milestone = 3"):
        with pytest.raises(RuleFileError, match="rule file") as caught:
            read_rules(text)
        assert "\n" not in str(caught.value)
