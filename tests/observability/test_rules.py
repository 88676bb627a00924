"""Recording rules and alerts are right: as promtool sees them, and as people will need them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from prometheus import counts
from prometheus.alerts import RUNBOOKS as RUNBOOKS_ADDRESS
from schemas import events

PROMETHEUS = Path(__file__).parents[2] / "prometheus"
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks.md"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
GROUPS: list[dict[str, Any]] = [
    group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]
]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
RECORDS = [rule for group in GROUPS for rule in group["rules"] if "record" in rule]
TESTS: list[dict[str, Any]] = [
    test
    for path in sorted((PROMETHEUS / "tests").glob("*.yml"))
    for test in yaml.safe_load(path.read_text())["tests"]
]


def promtool(*arguments: str | Path) -> str:
    run = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_rules_and_configuration_pass_every_check_of_promtool() -> None:
    """Valid, and without duplicates."""
    for name in ("prometheus.yml", "compose.yml"):
        promtool("check", "config", "--lint=all", "--lint-fatal", PROMETHEUS / name)
    promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)


@pytest.mark.parametrize("path", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_rules_do_what_their_tests_say(path: Path) -> None:
    """Sums through a rebalance, and each alert just before and at its time, in Prometheus' own engine."""
    promtool("test", "rules", path)


def group_of(rule: dict[str, Any]) -> dict[str, Any]:
    """The group that a rule is in."""
    return next(group for group in GROUPS if rule in group["rules"])


def cases_of(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tests that ask for these rules, without what they ask for besides."""
    names = "|".join(rule["record"] for rule in rules if "record" in rule)
    asked = re.compile(rf"(?<![a-z_:])({names})(?![a-z0-9_:])") if names else re.compile("(?!)")
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    found = []
    for test in TESTS:
        queries = [
            case
            for case in test.get("promql_expr_test", [])
            # One query asks for all the counters of a partition at once.
            if asked.search(case["expr"]) or ("partition:.+" in case["expr"] and "|partition:" in names)
        ]
        firing = [case for case in test.get("alert_rule_test", []) if case["alertname"] in alerts]
        if queries or firing:
            found.append(test | {"promql_expr_test": queries, "alert_rule_test": firing})
    return found


def passes(folder: Path, rule: dict[str, Any], changed: dict[str, Any]) -> bool:
    """Whether the tests that ask for a rule, or for one of its group, pass with another in its place."""
    own = group_of(rule)
    if "record" in rule:
        tests = cases_of(own["rules"])
        groups = [own | {"rules": [changed if each is rule else each for each in own["rules"]]}]
    else:  # alerts read what is recorded of the stream, and nothing reads an alert
        tests = cases_of([rule])
        stream = next(group for group in GROUPS if group["name"] == "fanpulse-stream")
        groups = [stream, own | {"rules": [changed]}]
    assert tests
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    content = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1s",
        "group_eval_order": [group["name"] for group in groups],
        "tests": tests,
    }
    (folder / "test.yml").write_text(yaml.safe_dump(content))
    run = subprocess.run(
        ["promtool", "test", "rules", folder / "test.yml"], capture_output=True, text=True, check=False
    )
    # A rule that cannot be read or evaluated would fail as well, and prove nothing.
    assert ("SUCCESS" in run.stdout) != ("FAILED:" in run.stdout + run.stderr), run.stdout + run.stderr
    assert not re.search("parse error|error evaluating", run.stdout + run.stderr), run.stderr
    return run.returncode == 0


@pytest.mark.parametrize("rule", [group["rules"][0] for group in GROUPS], ids=map(str, range(len(GROUPS))))
def test_the_tests_of_a_group_pass_on_their_own(tmp_path: Path, rule: dict[str, Any]) -> None:
    """A group needs no other one, so the tests below may take it out."""
    assert passes(tmp_path, rule, rule)


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_the_value_of_a_recording_rule_is_asserted(tmp_path: Path, rule: dict[str, Any]) -> None:
    """With another value under the same labels, made of raw series as before, a test of the rules fails."""
    assert not passes(tmp_path, rule, rule | {"expr": f"({rule['expr']}) * 2 + 1"})


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_time_of_an_alert_is_asserted(tmp_path: Path, alert: dict[str, Any]) -> None:
    """If it comes two seconds later, two seconds earlier or without its condition, a test fails."""
    number, unit = re.fullmatch(r"(\d+)([ms])", alert["for"]).groups()  # type: ignore[union-attr]
    seconds = int(number) * {"m": 60, "s": 1}[unit]
    changes: list[dict[str, Any]] = [{"for": f"{seconds + 2}s"}, {"expr": f"({alert['expr']}) or vector(1)"}]
    if seconds:
        changes.append({"for": f"{seconds - 2}s"})
    for change in changes:
        assert not passes(tmp_path, alert, alert | change), change


def test_a_recorded_series_is_named_by_level_metric_and_operations() -> None:
    """As Prometheus advises, so that its name says what was summed away."""
    for rule in RECORDS:
        assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", rule["record"]), rule["record"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_what_to_do(alert: dict[str, Any]) -> None:
    """for, severity, summary, description, and a runbook that has a section for it."""
    assert "for" in alert
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    assert page == RUNBOOKS_ADDRESS
    assert page.startswith("https://")
    assert anchor == alert["alert"].lower()
    assert f"\n## {alert['alert']}\n" in RUNBOOKS.read_text()


def test_an_action_that_is_added_is_counted_by_the_rules_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Prometheus' own engine, a new interaction is in the interactions and has a net figure. What people
    can take back in two ways is less both."""
    monkeypatch.setattr(events, "INTERACTIONS", (*events.INTERACTIONS, "bookmark"))
    added = {"unbookmark": "bookmark", "dislike": "like"}
    monkeypatch.setattr(events, "WITHDRAWALS", events.WITHDRAWALS | added)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": counts.groups()}))
    per_second = {"like": 9, "unlike": 2, "dislike": 3, "bookmark": 5, "unbookmark": 1, "read": 100}
    subject = 'platform="twitter",account="GansuTravel"'
    series = [
        {
            "series": f'fanpulse_account_events_total{{{subject},action="{action}",partition="0"}}',
            "values": f"0+{rate}x120",
        }
        for action, rate in per_second.items()
    ]
    net = {"like": 400, "bookmark": 400, "read": 10_000}
    wanted = {
        "account:fanpulse_account_events:net": {
            f',action="{action}"': value for action, value in net.items()
        },
        "account:fanpulse_account_interactions:rate1m": {"": 14},
    }
    queries = [
        {
            "expr": record,
            "eval_time": "100s",
            "exp_samples": [
                {"labels": f"{record}{{{subject}{action}}}", "value": value}
                for action, value in samples.items()
            ],
        }
        for record, samples in wanted.items()
    ]
    test = {"name": "bookmark", "interval": "1s", "input_series": series, "promql_expr_test": queries}
    content = {"rule_files": ["rules.yml"], "evaluation_interval": "1s", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(content))
    promtool("test", "rules", tmp_path / "test.yml")
