"""Every query of every dashboard, rule and README works on a real Prometheus, on metrics that exist."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.observability.exposition import ACCOUNTS
from tests.observability.prometheus import Prometheus
from tests.support.processes import eventually

ROOT = Path(__file__).parents[2]
BOARDS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in (ROOT / "grafana" / "dashboards").glob("*.json")
}
PANELS = [(uid, panel) for uid, board in BOARDS.items() for panel in board["panels"]]
VARIABLES = {"namespace": ".*", "account": ".*", "hashtag": ".*", "broadcast": ".*"}
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
#: Silent while nothing is wrong.
QUIET = {"Alerts decided"}
METRIC = re.compile(r"\b(?:[a-z_]+:)?fanpulse_[a-z_]+(?::[a-z0-9]+)?\b")


def fill(expr: str) -> str:
    """The query as Grafana sends it, with every variable at All."""
    for name, value in VARIABLES.items():
        expr = expr.replace(f"${name}", value)
    assert "$" not in expr.replace("$__", ""), expr
    return expr


def queries() -> list[str]:
    """All PromQL that people or machines send."""
    texts = [target["expr"] for _, panel in PANELS for target in panel["targets"]]
    texts += [each["expr"] for board in BOARDS.values() for each in board["annotations"]["list"]]
    texts += [each["definition"] for board in BOARDS.values() for each in board["templating"]["list"][1:]]
    return texts + [rule["expr"] for rule in RULES]


@pytest.mark.parametrize(
    ("panel", "target"),
    [(panel, target) for _, panel in PANELS for target in panel["targets"]],
    ids=[f"{uid}-{panel['title']}-{target['refId']}" for uid, panel in PANELS for target in panel["targets"]],
)
def test_a_panel_shows_something(
    prometheus: Prometheus, panel: dict[str, Any], target: dict[str, Any]
) -> None:
    """Each query of each panel gives series with figures, as of now and over a range."""
    expr = fill(target["expr"])
    if panel["title"] in QUIET or " unless on () " in expr:
        prometheus.query(expr)
    else:
        prometheus.until(
            expr, lambda found: any(value == value for _, value in found), f"panel {panel['title']}"
        )
    if target["range"]:
        assert isinstance(prometheus.query_range(expr), list)


def test_every_metric_that_is_asked_for_exists(prometheus: Prometheus) -> None:
    """A renamed metric would leave an empty panel, or an alert that never fires."""
    wanted = {name for expr in queries() for name in METRIC.findall(expr)}
    assert len(wanted) > 40

    def missing() -> set[str]:
        return wanted - set(prometheus.get("label/__name__/values"))

    # Each group of rules runs at a moment of its own within the interval, and a rate needs two samples.
    eventually(lambda: not missing(), 30, f"all metrics asked for exist; missing are {missing()}")
    assert missing() == set()


def test_every_label_that_a_query_names_exists(prometheus: Prometheus) -> None:
    """`by (platfrom)` would be an empty label and no error."""
    known = set(prometheus.get("labels")) | {"le", "namespace"}
    groups = re.compile(r"\b(?:by|without|on|ignoring) ?\(([^()]*)\)")
    named = {
        label.strip() for expr in queries() for found in groups.findall(expr) for label in found.split(",")
    }
    assert named - {""} - known == set()


def test_every_exported_metric_is_shown_or_alerted_on(prometheus: Prometheus) -> None:
    """What nobody looks at need not be exported."""
    used = {name for expr in queries() for name in METRIC.findall(expr)}
    exported = set()
    for target in prometheus.get("targets", state="active")["activeTargets"]:
        with urllib.request.urlopen(target["scrapeUrl"], timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            exported |= {
                re.sub(r"_(bucket|sum|count)$", "", sample.name)
                if family.type == "histogram"
                else sample.name
                for family in families
                for sample in family.samples
                if not sample.name.endswith("_created")
            }
    assert exported
    used = {re.sub(r"_bucket$", "", name) for name in used}
    assert exported - used == set()


def test_all_three_services_are_scraped(prometheus: Prometheus) -> None:
    """Under the names of jobs that the alerts ask for."""
    prometheus.until("up == 1", lambda found: len(found) == 3, "three targets are up")
    jobs = {labels["job"] for labels, _ in prometheus.query("up")}
    assert jobs == {"fanpulse-ingest", "fanpulse-aggregate", "fanpulse-alerts"}


def test_series_with_names_and_the_remainder_add_up(prometheus: Prometheus) -> None:
    """The sum over all accounts, the remainder included, is the sum over all hashtags: each event has one."""
    difference = (
        'sum(account:fanpulse_account_events:total{action="like"}) '
        '- sum(hashtag:fanpulse_hashtag_events:total{action="like"})'
    )
    prometheus.until(difference, lambda found: [value for _, value in found] == [0.0], "both sums agree")
    query = 'count by (account) (account:fanpulse_account_events:total{action="like"})'

    def names() -> set[str]:
        return {labels["account"] for labels, _ in prometheus.query(query)}

    # All but one have series, once they have been chosen.
    eventually(lambda: len(names()) == len(ACCOUNTS) and "_other" in names(), 40, f"series; are {names()}")


def test_no_alert_fires_while_nothing_is_wrong(prometheus: Prometheus) -> None:
    """The one that may: the traffic of this test holds entries that are no events, on purpose."""
    firing = {labels["alertname"] for labels, _ in prometheus.query('ALERTS{alertstate="firing"}')}
    assert firing <= {"FanpulseLogUnreadable"}
