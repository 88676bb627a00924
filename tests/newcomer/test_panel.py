"""A newcomer adds a panel to the wall: one source file, and the dashboard is built again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
#: What `python -m grafana.build` reads and writes.
SOURCES = ("schemas", "services", "grafana", "prometheus")

PANEL = """        bars(
            "Reposts by platform",
            "In the last five minutes of event time.",
            "short",
            Query(
                'sum by (platform) (account:fanpulse_account_rolling:sum'
                f'{{{named},window="5m",action="repost"}})',
                "{{platform}}",
                instant=True,
            ),
        ),
"""
BEFORE = '        ranking(\n            "Followers",\n'
EDITS = ((BEFORE, PANEL + BEFORE), ("widths=(5, 5, 5, 9),", "widths=(5, 4, 3, 3, 9),"))


def build(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m grafana.build` in a copy of the repository."""
    return subprocess.run(
        [sys.executable, "-m", "grafana.build", *arguments],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository after the newcomer's change, before anything is built again."""
    tree = tmp_path_factory.mktemp("newcomer")
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    live = tree / "grafana" / "live.py"
    text = live.read_text("utf-8")
    for old, new in EDITS:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    live.write_text(text, "utf-8")
    return tree


def generated(folder: Path) -> dict[str, str]:
    """Every file that a build may write."""
    paths = [*folder.glob("grafana/dashboards/*.json"), *folder.glob("prometheus/rules/*.yml")]
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in paths}


def test_the_check_of_generated_files_asks_for_a_build(tree: Path) -> None:
    """A panel that is not built fails CI, with the file and the command in the message."""
    before = build(tree, "--check")
    assert before.returncode == 1
    assert "fanpulse-live.json is not current; run python -m grafana.build" in before.stdout


def test_a_build_adds_the_panel_and_changes_nothing_else(tree: Path) -> None:
    """The panel has its place on the grid; only the dashboard of the wall differs."""
    run = build(tree)
    assert run.returncode == 0, run.stderr
    old, new = generated(ROOT), generated(tree)
    assert [name for name in new if new[name] != old[name]] == ["grafana/dashboards/fanpulse-live.json"]
    panels: list[dict[str, Any]] = json.loads(new["grafana/dashboards/fanpulse-live.json"])["panels"]
    (panel,) = [each for each in panels if each["title"] == "Reposts by platform"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"] == "short"
    beside = [each["gridPos"] for each in panels if each["gridPos"]["y"] == panel["gridPos"]["y"]]
    assert sum(place["w"] for place in beside) == 24
