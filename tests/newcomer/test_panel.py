"""A newcomer adds a panel: one source file, `python -m grafana.build`, and no test to edit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("schemas", "services", "grafana", "prometheus", "tests/contract", "tests/support")
PANEL = """
            lines(
                "Hashtags a minute",
                "Interactions in the last minute of event time, of the chosen hashtags.",
                "short",
                Query(
                    "sum by (hashtag) (hashtag:fanpulse_hashtag_rolling:sum"
                    f"{{{window('1m')},{HASHTAGS},{interactions()}}})",
                    "{{hashtag}}",
                ),
            ),
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what dashboards are built from, and of the tests that check them."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/__init__.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=tree, capture_output=True, text=True, check=False
    )


def contract(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(tree, "pytest", "-q", "-p", "no:cacheprovider", "tests/contract/test_dashboards.py", *options)


def add(tree: Path, panel: str) -> None:
    """The newcomer's edit of grafana/live.py: a panel in the second row, and the widths of that row."""
    live = tree / "grafana" / "live.py"
    before, row, after = live.read_text("utf-8").partition("def _over_time() -> Row:")
    after = after.replace("        ranking(", f"{panel.lstrip(chr(10))}        ranking(", 1)
    after = after.replace("widths=(16, 8)", "widths=(9, 7, 8)", 1)
    live.write_text(before + row + after, "utf-8")


def test_a_new_panel_touches_one_source_file_and_no_test(tree: Path) -> None:
    """It is built, and the contract tests as they are check it and pass."""
    add(tree, PANEL)
    assert "is not current" in run(tree, "grafana.build", "--check").stdout
    assert run(tree, "grafana.build").returncode == 0
    board = json.loads((tree / "grafana/dashboards/fanpulse-live.json").read_text("utf-8"))
    assert "Hashtags a minute" in {panel["title"] for panel in board["panels"]}
    checked = contract(tree)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        ("{HASHTAGS},", "", "test_a_panel_asks_the_chosen_prometheus_about_the_chosen_stream"),
        ("{window('1m')}", 'window=\\"1min\\"', "test_a_matcher_names_values_that_exist"),
        ("event time, of the chosen hashtags.", "event time", "test_a_panel_says_what_it_shows"),
    ],
)
def test_a_slip_in_a_new_panel_is_found(tree: Path, right: str, wrong: str, found: str) -> None:
    """The contract tests of the dashboards know nothing of the panel, and find it all the same."""
    assert right in PANEL
    add(tree, PANEL.replace(right, wrong))
    assert run(tree, "grafana.build").returncode == 0
    checked = contract(tree, "-k", found)
    assert checked.returncode == 1
    assert f"FAILED tests/contract/test_dashboards.py::{found}" in checked.stdout
    assert "[fanpulse-live-Hashtags a minute]" in checked.stdout
    assert "1 failed" in checked.stdout
