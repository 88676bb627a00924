"""Recording rules and alerts are right: as promtool sees them, and as people will need them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMETHEUS = Path(__file__).parents[2] / "prometheus"
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks.md"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
GROUPS: list[dict[str, Any]] = [
    group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]
]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
RECORDS = [rule for group in GROUPS for rule in group["rules"] if "record" in rule]


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


def test_every_alert_is_tested_before_and_at_its_time() -> None:
    """A test that expects silence and one that expects the alert, for each."""
    tests = yaml.safe_load((PROMETHEUS / "tests" / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", [])]
    for alert in ALERTS:
        mine = [case for case in cases if case["alertname"] == alert["alert"]]
        assert {bool(case["exp_alerts"]) for case in mine} == {True, False}, alert["alert"]


def test_every_recording_rule_is_tested() -> None:
    """Each is asked for by a test, or is part of one that is."""
    text = (PROMETHEUS / "tests" / "counts_test.yml").read_text()
    exprs = " ".join(str(rule["expr"]) for group in GROUPS for rule in group["rules"])
    for rule in RECORDS:
        assert rule["record"] in text or rule["record"] in exprs, rule["record"]
        assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9]+", rule["record"]), "level:metric:operations"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_what_to_do(alert: dict[str, Any]) -> None:
    """for, severity, summary, description, and a runbook that has a section for it."""
    assert "for" in alert
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    assert page == "docs/runbooks.md"
    assert anchor == alert["alert"].lower()
    assert f"\n## {alert['alert']}\n" in RUNBOOKS.read_text()
