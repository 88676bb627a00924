"""What the documents name exists: files, modules, commands and targets."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fanpulse.cli.app import build_app
from schemas.hashtags import AliasTable, canonical
from services.alerts.deciding.rule_file import parse_rules
from services.runtime.settings import Settings
from tools import board_picture, settings_page, tidy

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
#: What the pages are searched for: in prose between backticks, or as a line of a block of code.
LINKS = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
FILES = re.compile(r"`([\w./-]+\.(?:py|sql|yml|yaml|toml|lock))`")
MODULES = re.compile(r"python -m ([\w.]+)")
COMMANDS = re.compile(r"(?:^(?: {4})?|`|&& |\$\()fanpulse ([a-z-]+)", re.MULTILINE)
TARGETS = re.compile(r"(?:^(?: {4})?|`)make ((?:[a-z]+ ?)+)", re.MULTILINE)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.mark.parametrize("pattern", [LINKS, FILES, MODULES, COMMANDS, TARGETS], ids=lambda each: each.pattern)
def test_each_pattern_finds_something_on_the_pages(pattern: re.Pattern[str]) -> None:
    """A pattern that finds nothing would let every page pass."""
    assert sum(len(pattern.findall(page.read_text("utf-8"))) for page in PAGES) >= 5


@pages
def test_links_within_the_repository_have_a_target(page: Path) -> None:
    """Every relative link of a page is a file or folder."""
    for target in LINKS.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pages
def test_files_that_a_page_names_exist(page: Path) -> None:
    """A path in backticks is a file of the repository; a bare name is that of one."""
    text = page.read_text("utf-8")
    known = {path.name for path in tidy.tracked()}
    for name in FILES.findall(text):
        if "/" in name:
            assert (ROOT / name).exists() or (ROOT / "services" / "alerts" / name).exists(), name
        else:
            assert name in known | {"fanpulse.toml"}, name


@pages
def test_modules_that_a_page_runs_exist(page: Path) -> None:
    """`python -m tools.tidy` can be run."""
    for module in MODULES.findall(page.read_text("utf-8")):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pages
def test_commands_that_a_page_shows_exist(page: Path) -> None:
    """`fanpulse load` is a command."""
    commands = {command.name or command.callback.__name__ for command in build_app().registered_commands}
    commands |= {str(group.name) for group in build_app().registered_groups}
    for command in COMMANDS.findall(page.read_text("utf-8")):
        assert command in commands, command


@pages
def test_make_targets_that_a_page_shows_exist(page: Path) -> None:
    """`make demo` is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in TARGETS.findall(page.read_text("utf-8")):
        assert set(line.split()) <= targets, line


def test_the_page_of_settings_is_current() -> None:
    """Run `python -m tools.settings_page` after a change of a setting."""
    assert settings_page.main(["--check"]) == 0


def test_the_picture_of_the_board_is_current() -> None:
    """Run `python -m tools.board_picture` after a change of the board, the scenario or the rules."""
    assert board_picture.main(["--check"]) == 0


def test_the_picture_of_the_board_fetches_nothing() -> None:
    """Whoever reads the README asks no other host for a font, an image or a script."""
    svg = board_picture.PICTURE.read_text("utf-8")
    fetched = re.findall(r"url\((?!#)[^)]*\)|@import|@font-face|href|<script|<image", svg)
    assert not fetched, fetched
    assert len(svg.encode()) < 300_000
    assert set(re.findall(r"url\(#([^)]*)\)", svg)) <= set(re.findall(r' id="([^"]*)"', svg))


def test_chinese_characters_have_two_cells_each_in_the_picture() -> None:
    """What stands behind a Chinese name is where the terminal would show it."""
    svg = board_picture.PICTURE.read_text("utf-8")
    runs = re.findall(r'textLength="([\d.]+)"[^>]*>([\u4e00-\u9fff]+)<', svg)
    assert runs
    for length, text in runs:
        assert float(length) == pytest.approx(2 * len(text) * board_picture.CELL_WIDTH), text


def test_the_repository_is_tidy() -> None:
    """No module too long, no address in a lock file, no path of a machine."""
    run = subprocess.run(
        [sys.executable, "-m", "tools.tidy"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout


def _heredoc(name: str) -> str:
    """The file that README tells the reader to write."""
    found = re.search(
        rf"cat > {re.escape(name)} <<'END'\n(.*?)END\n", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert found is not None, name
    return found[1]


def test_the_files_of_the_quick_start_are_valid() -> None:
    """README's settings and rules load, and the rule is for the hashtag in both languages."""
    settings = Settings.model_validate(tomllib.loads(_heredoc("fanpulse.toml")))
    aliases = AliasTable(settings.hashtag_aliases)
    (rule,) = parse_rules(_heredoc(str(settings.alerts.rules)), "README").milestone
    for spelling in ("#GansuHeritage", "#文化和自然遗产日"):
        assert rule.matches((aliases.resolve(canonical(spelling)),), None, aliases), spelling


def test_the_rows_of_the_quick_start_are_what_readme_says() -> None:
    """Four events and a row with a bad time; the event sent by curl reaches the lowest threshold."""
    rows = list(csv.DictReader(_heredoc("heritage-day.csv").splitlines()))
    good = [row for row in rows if row["occurred_at"][:2].isdigit()]
    assert (len(rows), len(good)) == (5, 4)
    (rule,) = parse_rules(_heredoc("rules.toml"), "README").milestone
    assert rule.first == len(good) + 1
