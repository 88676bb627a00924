"""Milestones per country: a rule in the file that comes with fanpulse, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.newcomer.tree import COUNT, DECIDE, Tree

RULE = """[[milestone]]
name = "country-interactions"
scope = "country"
metric = "interactions"
ladder = "1-5"
from = 1
to = 5
match = { countries = ["GB", "MY"] }

"""
BEFORE = '[[milestone]]\nname = "campaign-interactions"\n'
SCRIPT = (
    COUNT
    + DECIDE
    + """
from importlib.resources import files

countries = ["GB", "MY", "GB", "GB", "US", "GB", "GB"]
events = [event(number, actor={"id": str(number), "country": each}) for number, each in enumerate(countries)]
state, changes, view = count(*events)
rules = files("services.alerts").joinpath("rules.toml").read_text("utf-8")
print(json.dumps([[each.text, each.occurred_at, each.threshold] for each in decide(rules, changes)]))
"""
)


def test_a_rule_alone_gives_milestones_per_country(tmp_path: Path) -> None:
    """Only for the countries that match, in words, at the time of the newest event from there."""
    tree = Tree(tmp_path)
    tree.edit("services/alerts/rules.toml", BEFORE, RULE + BEFORE)
    assert tree.run(SCRIPT) == [
        ["Country MY reached 1 interaction at 22 Jun 2026 09:30 UTC; 1 like", 1_782_120_601_000, 1],
        ["Country GB passed 1 interaction (5) at 22 Jun 2026 09:30 UTC; 5 likes", 1_782_120_606_000, 1],
        ["Country GB reached 5 interactions at 22 Jun 2026 09:30 UTC; 5 likes", 1_782_120_606_000, 5],
    ]
    assert tree.edited == {"services/alerts/rules.toml"}
