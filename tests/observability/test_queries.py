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
from tests.support.promql import parse

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
RECORDED: dict[str, str] = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
PROMQL_OF_README = re.findall(r"```promql\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
#: A stat has a second query for the case that the first has no series.
ONLY_IF_ABSENT = " unless on () "


def fill(expr: str) -> str:
    """The query as Grafana sends it, with every variable at All."""
    for name, value in VARIABLES.items():
        expr = expr.replace(f"${name}", value)
    assert "$" not in expr.replace("$__", ""), expr
    return expr


def shown() -> list[str]:
    """All PromQL by which people see something: of dashboards, of alerts, and of README."""
    texts = [target["expr"] for _, panel in PANELS for target in panel["targets"]]
    texts += [each["expr"] for board in BOARDS.values() for each in board["annotations"]["list"]]
    for board in BOARDS.values():
        for variable in board["templating"]["list"][1:]:
            texts += re.findall(r"^label_values\((.+), \w+\)$", variable["definition"])
    texts += [rule["expr"] for rule in RULES if "alert" in rule]
    for block in PROMQL_OF_README:
        texts += [re.sub(r"(?m)^#.*$", "", part) for part in block.split("\n\n")]
    return texts


def queries() -> list[str]:
    """All PromQL that people or machines send."""
    return [*shown(), *RECORDED.values()]


def metrics(exprs: list[str]) -> set[str]:
    """The metrics that queries select, ALERTS of Prometheus itself aside."""
    return {selector.metric for expr in exprs for selector in parse(expr).selectors} - {"ALERTS"}


def seen() -> set[str]:
    """The metrics that people see, by themselves or in what is recorded of them."""
    found, fresh = set[str](), metrics(shown())
    while fresh:
        found |= fresh
        fresh = metrics([RECORDED[name] for name in fresh if name in RECORDED]) - found
    return found


@pytest.mark.parametrize(
    ("panel", "target"),
    [(panel, target) for _, panel in PANELS for target in panel["targets"]],
    ids=[f"{uid}-{panel['title']}-{target['refId']}" for uid, panel in PANELS for target in panel["targets"]],
)
def test_a_panel_shows_something(
    prometheus: Prometheus, panel: dict[str, Any], target: dict[str, Any]
) -> None:
    """Each query of each panel gives series with figures, as of now and over a range, with the labels that
    its legend names; the query for an absent figure gives none, since nothing is absent."""
    expr = fill(target["expr"])
    if ONLY_IF_ABSENT in expr:
        prometheus.until(expr, lambda found: not found, f"panel {panel['title']}")
        return
    prometheus.until(expr, lambda found: any(value == value for _, value in found), panel["title"])
    # The traffic of the test is of the stream without a name.
    named = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - {"namespace"}
    for labels, _ in prometheus.query(expr):
        assert named <= set(labels), labels
    if target["range"]:
        assert prometheus.query_range(expr)


def test_every_metric_that_is_asked_for_exists(prometheus: Prometheus) -> None:
    """A renamed metric would leave an empty panel, or an alert that never fires."""
    wanted = metrics(queries())
    assert len(wanted) > 40

    def missing() -> set[str]:
        return wanted - set(prometheus.get("label/__name__/values"))

    # Each group of rules runs at a moment of its own within the interval, and a rate needs two samples.
    eventually(lambda: not missing(), 30, f"all metrics asked for exist; missing are {missing()}")
    assert missing() == set()


def test_every_label_that_a_query_names_exists(prometheus: Prometheus) -> None:
    """`by (platfrom)` or `{platfrom="x"}` would be an empty label and no error."""
    known = set(prometheus.get("labels")) | {"le", "namespace", "alertname", "alertstate"}
    named = {label for expr in queries() for label in parse(expr).labels}
    named |= {
        matcher.label
        for expr in queries()
        for selector in parse(expr).selectors
        for matcher in selector.matchers
    }
    assert named >= {"platform", "account", "hashtag", "window", "partition", "job"}
    assert named - known == set()


def test_every_exported_metric_is_shown_or_alerted_on(prometheus: Prometheus) -> None:
    """What nobody looks at need not be exported."""
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
    assert exported - {re.sub(r"_bucket$", "", name) for name in seen()} == set()


def test_all_three_services_are_scraped(prometheus: Prometheus) -> None:
    """Under the names of jobs that the alerts ask for."""
    prometheus.until("up == 1", lambda found: len(found) == 3, "three targets are up")
    jobs = {labels["job"] for labels, _ in prometheus.query("up")}
    assert jobs == {"fanpulse-ingest", "fanpulse-aggregate", "fanpulse-alerts"}


def test_series_with_names_and_the_sum_of_the_others_add_up(prometheus: Prometheus) -> None:
    """The sum over all accounts, `_other` included, is the sum over all hashtags: each event has one."""
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


def test_no_condition_of_an_alert_holds_while_nothing_is_wrong(prometheus: Prometheus) -> None:
    """None is firing or about to, once every target is scraped, but the one that has to: the traffic of this
    test holds entries that are not events."""
    prometheus.until("up == 1", lambda found: len(found) == 3, "three targets are up")
    wanted = {"FanpulseLogUnreadable"}

    def holding() -> set[str]:
        return {labels["alertname"] for labels, _ in prometheus.query("ALERTS")}

    eventually(lambda: holding() == wanted, 40, f"the only alert; are {holding()}")
    evaluated = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in evaluated if rule["type"] == "alerting"} == {
        rule["alert"] for rule in RULES if "alert" in rule
    }
    assert {rule["name"]: rule["lastError"] for rule in evaluated if rule.get("lastError")} == {}
