"""Puts panels on Grafana's grid of 24 columns and makes a dashboard of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grafana.panels import DATASOURCE, Json, Panel

COLUMNS = 24
#: The newest version of the classic model; Grafana 12 writes it, and later versions migrate it.
SCHEMA_VERSION = 41

Row = tuple[int, Sequence[tuple[int, Panel]]]  # height, (width, panel) from left to right


def row(height: int, *panels: Panel, widths: Sequence[int] = ()) -> Row:
    """Panels side by side, equally wide unless you give widths."""
    each = widths or [COLUMNS // len(panels)] * len(panels)
    return height, list(zip(each, panels, strict=True))


def place(rows: Iterable[Row]) -> list[Json]:
    """Panels with ids and positions, row below row. Raises ValueError if a row is not 24 columns wide."""
    panels: list[Json] = []
    y = 0
    for height, members in rows:
        x = 0
        for width, panel in members:
            panels.append(panel.render(len(panels) + 1, x, y, width, height))
            x += width
        if x != COLUMNS:
            raise ValueError(f"the row at {y} is {x} columns wide")
        y += height
    return panels


def label_variable(name: str, label: str, description: str, series: str, *, multi: bool = True) -> Json:
    """A variable that lists the values of a label in these series. Unless you choose some, it matches every
    value, and series without the label."""
    query = f"label_values({series}, {name})"
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,  # with the time range: accounts come and go
        "sort": 5,
        "multi": multi,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
    }


def datasource_variable() -> Json:
    """The first variable: which Prometheus."""
    return {
        "name": "datasource",
        "label": "Prometheus",
        "description": "the Prometheus that has the figures",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "fanpulse", "value": "fanpulse-prometheus"},
        "refresh": 1,
        "hide": 0,
    }


def dashboard(
    uid: str,
    title: str,
    description: str,
    rows: Iterable[Row],
    *,
    variables: Sequence[Json],
    annotations: Sequence[Json] = (),
    period: str = "now-30m",
) -> Json:
    """A read-only dashboard of the classic model, in UTC. Its links to the others keep time and variables."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["fanpulse"],
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": "5s",
        "time": {"from": period, "to": "now"},
        "timepicker": {"refresh_intervals": ["1s", "5s", "10s", "30s", "1m", "5m"]},
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "links": [
            {
                "title": "fanpulse",
                "type": "dashboards",
                "tags": ["fanpulse"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": [datasource_variable(), *variables]},
        "annotations": {"list": list(annotations)},
        "panels": place(rows),
    }
