"""The dashboards are generated, current, and laid out as a wall needs it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from grafana import build
from grafana.layout import COLUMNS, place, row
from grafana.panels import Query, stat

BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(text) for path, text in build.files().items()}
PANELS = [(uid, panel) for uid, board in BOARDS.items() for panel in board["panels"]]
panels = pytest.mark.parametrize(("uid", "panel"), PANELS, ids=[f"{uid}-{p['title']}" for uid, p in PANELS])
boards = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def test_the_committed_dashboards_are_what_the_builders_say() -> None:
    """Run `python -m grafana.build` after a change."""
    assert build.stale() == []


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
    assert panel["description"].endswith((".", "shows them."))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["noValue"] == "no feed"
    titles = [other["title"] for board, other in PANELS if board == uid]
    assert titles.count(panel["title"]) == 1


@panels
def test_a_panel_asks_the_chosen_prometheus_about_the_chosen_stream(uid: str, panel: dict[str, Any]) -> None:
    """No fixed data source; every selector of our metrics is limited to the stream."""
    assert panel["datasource"]["uid"] == "$datasource"
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "$datasource"
        if "fanpulse_" in target["expr"]:
            assert target["expr"].count("{") >= 1
            assert target["expr"].count('namespace=~"$namespace"') >= 1


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
    """Thresholds in red are on lateness and refusals, never on how popular something is."""
    late = {"Behind", "Refused", "Alarms", "Behind, in seconds", "Alerts are behind by"}
    assert ('"red"' in json.dumps(panel)) == (panel["title"] in late)
