"""A newcomer's task, done: a second spike rule on one broadcast, in the rule file alone."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from schemas.alerts import Spike
from services.alerts.deciding.figures import Figures
from services.alerts.deciding.spikes import Spikes
from services.alerts.rules_on_disk import load_rules
from services.audit.recounting.rules import read_rules, rules_text
from tests.support.totals import MINUTE_MS, START_MS, broadcast, entry, transaction

SECOND_RULE = """
[[spike]]
name = "comment-storm"
metric = "comment"
factor = 5.0
match = { broadcasts = ["fuxi-*"] }
"""


def decided(rules: Path | None) -> list[Spike]:
    """The spikes of half an hour in which comments rise at minute 15, and likes as well at minute 25."""
    figures = Figures(1)
    changes = [broadcast("fuxi-2026", started=START_MS)]
    for number in range(30):
        actions = {"like": 900 if number == 25 else 200, "comment": 80 if number in (15, 25) else 10}
        key = ("minute", "fuxi-2026", START_MS + number * MINUTE_MS)
        changes.append(entry(key, actions=actions, closed=True))
    for key_bytes, value in transaction(0, 0, changes, START_MS + 32 * MINUTE_MS):
        figures.feed(0, key_bytes, value)
    return Spikes(load_rules(rules).spike, {}).decide(figures, START_MS)


def test_a_second_spike_rule_is_one_table_in_the_rule_file(tmp_path: Path) -> None:
    """Appended to the packaged rules it reports what it finds, beside what the first rule reports; the audit
    reads the same file."""
    packaged = files("services.alerts").joinpath("rules.toml").read_text(encoding="utf-8")
    rules = tmp_path / "rules.toml"
    rules.write_text(packaged + SECOND_RULE, encoding="utf-8")
    minutes = [
        (each.rule, (each.occurred_at - START_MS) // MINUTE_MS, each.number) for each in decided(rules)
    ]
    assert minutes == [("comment-storm", 15, 1), ("comment-storm", 25, 2), ("live-spike", 25, 1)]
    assert [each.rule for each in decided(None)] == ["live-spike"]
    assert [rule.name for rule in read_rules(rules_text(rules)).spikes] == ["live-spike", "comment-storm"]


def test_the_example_of_the_docs_is_such_a_rule() -> None:
    """docs/alerts.md shows this rule."""
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    shown = "\n".join(line.partition("#")[0].rstrip() for line in page.splitlines())
    assert SECOND_RULE in shown
