"""The dashboards and rules are generated and current; the dashboards are laid out as a wall needs it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from grafana import build
from grafana.layout import COLUMNS, place, row
from grafana.panels import BROKEN, Query, stat
from prometheus import alerts, rule_files
from schemas.events import ACTIONS, METRICS, POST_ACTION, Phase
from services.aggregate.counting.windows import WINDOWS
from tests.support.promql import Matcher, Selector, parse

BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(text) for path, text in build.files().items() if path.parent == build.FOLDER
}
JOBS = {
    job["job_name"]
    for job in yaml.safe_load((rule_files.FOLDER.parent / "prometheus.yml").read_text())["scrape_configs"]
}
PANELS = [(uid, panel) for uid, board in BOARDS.items() for panel in board["panels"]]
panels = pytest.mark.parametrize(("uid", "panel"), PANELS, ids=[f"{uid}-{p['title']}" for uid, p in PANELS])
boards = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


#: Labels whose values come from a table -> the table.
VALUES: dict[str, set[str]] = {
    "action": {*ACTIONS, POST_ACTION},
    "window": set(WINDOWS),
    "metric": set(METRICS),
    "phase": set(get_args(Phase)),
}


def panel_selectors(panel: dict[str, Any]) -> list[Selector]:
    """All that the queries of a panel select; there is something."""
    found = [selector for target in panel["targets"] for selector in parse(target["expr"]).selectors]
    assert found
    return found


def other_queries() -> Iterator[str]:
    """What a dashboard asks for besides its panels: series of variables, and annotations."""
    for board in BOARDS.values():
        yield from (each["expr"] for each in board["annotations"]["list"])
        for variable in board["templating"]["list"]:
            if variable["type"] == "query" and variable["name"] != "namespace":
                [series] = re.findall(r"^label_values\((.+), \w+\)$", variable["definition"])
                yield series


def is_of_the_stream(selector: Selector) -> bool:
    """Whether a selector is limited: ours to the stream, and those of Prometheus itself to what is ours."""
    if "fanpulse_" in selector.metric:
        return Matcher("namespace", "=~", "$namespace") in selector.matchers
    if selector.metric == "up":
        [job] = [matcher for matcher in selector.matchers if matcher.label == "job"]
        return all(re.fullmatch(job.value, name) for name in JOBS)
    return selector.metric == "ALERTS" and Matcher("alertname", "=~", "Fanpulse.+") in selector.matchers


def test_the_committed_files_are_what_the_builders_say() -> None:
    """Run `python -m grafana.build` after a change."""
    assert build.stale() == []


@pytest.mark.parametrize("name", ["fanpulse-live.json", "counts.yml", "alerts.yml"])
def test_a_file_that_somebody_edited_is_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check names it and fails; building writes it; your own file beside the rules is left alone."""
    monkeypatch.setattr(build, "FOLDER", tmp_path / "dashboards")
    monkeypatch.setattr(rule_files, "FOLDER", tmp_path / "rules")
    assert build.main([]) == 0
    (tmp_path / "rules" / "own.yml").write_text("groups: []\n")
    assert build.main(["--check"]) == 0
    [path] = tmp_path.glob(f"*/{name}")
    path.write_text(path.read_text("utf-8").replace("fanpulse_", "fanpuls_", 1), "utf-8")
    assert build.main(["--check"]) == 1
    assert capsys.readouterr().out.startswith(f"{name} is not current")


def test_a_file_that_no_builder_writes_any_more_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dashboard or a generated rule file that is left over would still be loaded."""
    monkeypatch.setattr(build, "FOLDER", tmp_path / "dashboards")
    monkeypatch.setattr(rule_files, "FOLDER", tmp_path / "rules")
    build.main([])
    left = [tmp_path / "dashboards" / "old.json", tmp_path / "rules" / "old.yml"]
    left[0].write_text("{}")
    left[1].write_text(f"{rule_files.GENERATED}groups: []\n")
    assert build.stale() == left


def test_runbooks_are_where_the_build_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--runbooks` is the address that every alert points to; nothing else changes with it."""
    monkeypatch.setattr(build, "FOLDER", tmp_path / "dashboards")
    monkeypatch.setattr(rule_files, "FOLDER", tmp_path / "rules")
    build.main([])
    default = (tmp_path / "rules" / "alerts.yml").read_text("utf-8")
    build.main(["--runbooks", "https://wiki.example/fanpulse"])
    own = (tmp_path / "rules" / "alerts.yml").read_text("utf-8")
    assert own.count("runbook_url: https://wiki.example/fanpulse#fanpulse") == own.count("- alert:") > 0
    assert own.replace("https://wiki.example/fanpulse", alerts.RUNBOOKS) == default
    with pytest.raises(SystemExit):
        build.main(["--runbooks", "docs/runbooks.md"])


@boards
def test_a_dashboard_is_of_the_classic_model_read_only_and_in_utc(board: dict[str, Any]) -> None:
    """What file provisioning of Grafana 12 and 13 takes; the browser cannot change it."""
    assert board["schemaVersion"] <= 42
    assert board["editable"] is False
    assert board["timezone"] == "utc"
    assert board["title"]
    assert board["description"]
    assert "__inputs" not in board
    assert len(board["uid"]) <= 40
    [link] = board["links"]
    assert link["keepTime"]
    assert link["includeVars"]


def test_titles_and_uids_are_unique() -> None:
    """Grafana's provider loses write access over a repeated title or uid."""
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)
    assert {board["uid"] for board in BOARDS.values()} == set(BOARDS)


@boards
def test_panels_fill_24_columns_and_do_not_overlap(board: dict[str, Any]) -> None:
    """Every cell of the grid belongs to one panel."""
    cells = [
        (x, y)
        for each in (panel["gridPos"] for panel in board["panels"])
        for x, y in itertools.product(
            range(each["x"], each["x"] + each["w"]), range(each["y"], each["y"] + each["h"])
        )
    ]
    assert len(set(cells)) == len(cells)
    height = max(y for _, y in cells) + 1
    assert len(cells) == COLUMNS * height
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_wall_fits_one_screen() -> None:
    """20 rows of 38 pixels leave room for the header at 1080 lines."""
    assert (
        max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in BOARDS["fanpulse-live"]["panels"])
        <= 20
    )


def test_a_row_that_is_not_as_wide_as_the_grid_is_an_error() -> None:
    """A slip in a builder does not become a ragged wall."""
    panel = stat("t", "d", "short", Query("up"))
    with pytest.raises(ValueError, match="is 20 columns wide"):
        place([row(4, panel, widths=(20,))])


@panels
def test_a_panel_says_what_it_shows_and_in_what_unit(uid: str, panel: dict[str, Any]) -> None:
    """Title, description, unit, and words for a missing figure that are not a zero."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["noValue"] == "no feed"
    titles = [other["title"] for board, other in PANELS if board == uid]
    assert titles.count(panel["title"]) == 1


@panels
def test_a_panel_asks_the_chosen_prometheus_about_the_chosen_stream(uid: str, panel: dict[str, Any]) -> None:
    """No fixed data source; every selector of every query is limited to the stream."""
    assert panel["datasource"]["uid"] == "$datasource"
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {"$datasource"}
    for selector in panel_selectors(panel):
        assert is_of_the_stream(selector), selector


def test_variables_and_annotations_are_of_the_chosen_stream_too() -> None:
    """The account of another stream is not offered, and its milestone is no mark."""
    queries = list(other_queries())
    assert len(queries) >= 4
    for query in queries:
        for selector in parse(query).selectors:
            assert is_of_the_stream(selector), selector


@panels
@pytest.mark.parametrize("label", ["account", "hashtag", "broadcast"])
def test_a_panel_of_what_is_chosen_follows_the_choice(label: str, uid: str, panel: dict[str, Any]) -> None:
    """A panel that says so in its description is limited to it in every selector, and no other names it."""
    chosen = Matcher(label, "=~", f"${label}")
    follows = re.search(rf"\bchosen {label}s?\b", panel["description"].lower()) is not None
    ours = [each for each in panel_selectors(panel) if f"fanpulse_{label}_" in each.metric]
    assert not follows or ours
    for selector in ours:
        assert (chosen in selector.matchers) == follows, selector


@boards
def test_every_variable_of_a_dashboard_is_used_and_exists(board: dict[str, Any]) -> None:
    """A choice that changes nothing, or a name that Grafana does not replace, is a slip."""
    names = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", json.dumps([board["panels"], board["annotations"]])))
    assert used == names


@panels
def test_a_matcher_names_values_that_exist(uid: str, panel: dict[str, Any]) -> None:
    """An action, window, metric or phase with a slip in its name would be a panel without a figure."""
    for selector in panel_selectors(panel):
        for matcher in selector.matchers:
            if matcher.label in VALUES:
                assert set(matcher.values) <= VALUES[matcher.label], matcher


@panels
def test_a_single_figure_is_the_last_one_and_not_the_last_known_one(uid: str, panel: dict[str, Any]) -> None:
    """A feed that stopped shows "no feed" and not yesterday's figure; range queries draw the sparkline."""
    if panel["type"] not in ("stat", "bargauge"):
        return
    assert panel["options"]["reduceOptions"]["calcs"] == ["last"]
    [unknown] = [each for each in panel["fieldConfig"]["defaults"]["mappings"] if each["type"] == "special"]
    assert unknown["options"]["match"] == "null+nan"


@panels
def test_red_is_for_broken_data_only(uid: str, panel: dict[str, Any]) -> None:
    """Red is the last threshold of a panel about fanpulse itself, and never for how popular something is."""
    defaults = panel["fieldConfig"]["defaults"]
    steps = [step["color"] for step in defaults["thresholds"]["steps"]]
    assert BROKEN not in steps[:-1]
    elsewhere = json.dumps(
        panel | {"fieldConfig": {**panel["fieldConfig"], "defaults": {**defaults, "thresholds": {}}}}
    )
    assert not re.search(rf'"(\w+-)*{BROKEN}"', elsewhere)
    if BROKEN in steps:
        about = {selector.metric for selector in panel_selectors(panel)}
        assert not [metric for metric in about if re.search("fanpulse_(account|hashtag|broadcast)_", metric)]


def test_a_panel_turns_red_where_the_alert_fires() -> None:
    """Of a figure with an alert, the threshold of the panel is that of the alert."""
    limits = {
        found[1]: float(found[2])
        for group in alerts.groups()
        for rule in group["rules"]
        if (found := re.fullmatch(r"max by \(namespace\) \((\w+)\) > ([\d.]+)", rule["expr"]))
    }
    assert len(limits) >= 2
    seen = set()
    for _, panel in PANELS:
        metrics = {selector.metric for selector in panel_selectors(panel)}
        for metric in metrics & limits.keys():
            seen.add(metric)
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1] == {
                "color": BROKEN,
                "value": limits[metric],
            }, panel["title"]
    assert seen == set(limits)
