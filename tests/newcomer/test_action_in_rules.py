"""A newcomer adds the action `applaud` to schemas/events.py; rules and panels follow by regenerating."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.events import ACTIONS, INTERACTIONS, WITHDRAWALS

ROOT = Path(__file__).parents[2]
#: What `python -m grafana.build` reads and writes.
SOURCES = ("schemas", "services", "grafana", "prometheus")
ACTION_MATCHER = re.compile(r'action(=~|!~|=|!=)"([^"]*)"')


def build(tree: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "grafana.build"], cwd=tree, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository after the newcomer's change: one file edited, `python -m grafana.build` run."""
    tree = tmp_path_factory.mktemp("newcomer")
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    events = tree / "schemas" / "events.py"
    text = events.read_text("utf-8")
    for old, new in (
        ('"unlike", "unrepost"', '"applaud", "unapplaud", "unlike", "unrepost"'),
        ('    "unlike": "like",\n', '    "unlike": "like",\n    "unapplaud": "applaud",\n'),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    events.write_text(text, "utf-8")
    build(tree)
    return tree


def rules(tree: Path) -> dict[str, str]:
    """The expression of each recording rule."""
    groups: list[dict[str, Any]] = yaml.safe_load((tree / "prometheus/rules/counts.yml").read_text("utf-8"))[
        "groups"
    ]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}


def panel_queries(tree: Path) -> Iterator[tuple[str, str]]:
    """(title of the panel, query) of every dashboard."""
    for path in sorted((tree / "grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            for target in panel["targets"]:
                yield panel["title"], target["expr"]


def action_lists(expr: str) -> list[set[str]]:
    """The actions that each matcher of a query names."""
    return [set(actions.split("|")) for _, actions in ACTION_MATCHER.findall(expr)]


def test_the_copied_tree_alone_is_what_is_built(tree: Path) -> None:
    """The committed files of the repository are not touched, and the copy differs from them."""
    committed = (ROOT / "prometheus/rules/counts.yml").read_text("utf-8")
    assert "applaud" not in committed
    assert "applaud" in (tree / "prometheus/rules/counts.yml").read_text("utf-8")


@pytest.mark.parametrize("level", ["account", "hashtag"])
def test_a_new_action_is_an_interaction_in_every_rule(tree: Path, level: str) -> None:
    """The recorded interactions add it up, and its withdrawal is none of them."""
    [actions] = action_lists(rules(tree)[f"{level}:fanpulse_{level}_interactions:rate1m"])
    assert actions == {*INTERACTIONS, "applaud"}


def test_the_net_figure_of_a_new_action_is_less_its_withdrawals(tree: Path) -> None:
    """The withdrawal is subtracted under the name of the action, and is no figure of its own."""
    withdrawn = rules(tree)["account:fanpulse_account_events:withdrawn"]
    assert (
        'label_replace(sum without (action) (account:fanpulse_account_events:total{action=~"unapplaud"}), '
        '"action", "applaud", "action", ".*")' in withdrawn
    )
    [left_out] = action_lists(rules(tree)["account:fanpulse_account_events:net"])
    assert left_out == {*WITHDRAWALS, "unapplaud"}


def test_a_new_action_is_in_every_panel_that_shows_interactions(tree: Path) -> None:
    """No query names the interactions of before, and the committed panels do show interactions."""
    before, after = (
        [title for title, expr in panel_queries(root) if actions in action_lists(expr)]
        for root, actions in ((ROOT, set(INTERACTIONS)), (tree, {*INTERACTIONS, "applaud"}))
    )
    assert after == before
    assert len(set(after)) >= 8
    assert all(set(INTERACTIONS) not in action_lists(expr) for _, expr in panel_queries(tree))


def test_two_withdrawals_of_one_action_are_both_subtracted(tree: Path, tmp_path: Path) -> None:
    """A second way to take a like back joins the first one; neither hides the other."""
    for name in SOURCES:
        shutil.copytree(tree / name, tmp_path / name)
    events = tmp_path / "schemas" / "events.py"
    text = events.read_text("utf-8").replace('"applaud", "unapplaud",', '"dislike",')
    events.write_text(text.replace('"unapplaud": "applaud"', '"dislike": "like"'), "utf-8")
    build(tmp_path)
    assert '{action=~"dislike|unlike"}), "action", "like",' in rules(tmp_path)[
        "account:fanpulse_account_events:withdrawn"
    ].replace("account:fanpulse_account_events:total", "")


def test_an_action_is_an_interaction_unless_events_says_otherwise() -> None:
    """Whoever adds an action and says no more has it in the interactions, and not silently nowhere."""
    assert set(INTERACTIONS) == set(ACTIONS) - set(WITHDRAWALS) - {"read", "follow"}
    assert set(WITHDRAWALS.values()) <= set(ACTIONS)
