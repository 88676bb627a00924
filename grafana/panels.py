"""The few kinds of panels that the dashboards are made of, in Grafana's classic dashboard model.

Every figure on a wall has to tell "none" from "not known". So a single figure is the value at the last
moment, not the last value there was, and where the series is missing the panel says "no feed".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "$datasource"}
NO_FEED = "no feed"
#: Red is for data that is broken or late, never for what is unpopular.
BROKEN = "red"
_UNKNOWN: Json = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"text": NO_FEED, "index": 0}},
}


@dataclass(frozen=True)
class Query:
    """One PromQL query. An instant one is evaluated at the end of the time range only."""

    expr: str
    legend: str = ""
    instant: bool = False
    table: bool = False

    def target(self, number: int) -> Json:
        """The query as Grafana wants it."""
        return {
            "refId": chr(ord("A") + number),
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": self.expr,
            "legendFormat": self.legend or "__auto",
            "instant": self.instant,
            "range": not self.instant,
            "format": "table" if self.table else "time_series",
        }


@dataclass(frozen=True)
class Panel:
    """A panel without position and id; the layout gives it both."""

    kind: str
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    options: Json
    decimals: int | None = None
    custom: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)
    overrides: tuple[Json, ...] = ()
    transformations: tuple[Json, ...] = ()

    def render(self, number: int, x: int, y: int, width: int, height: int) -> Json:
        """The panel as Grafana wants it."""
        defaults: Json = {"unit": self.unit, "noValue": NO_FEED, "custom": self.custom, **self.defaults}
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        panel: Json = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": {"x": x, "y": y, "w": width, "h": height},
            "datasource": DATASOURCE,
            "interval": "1s",
            "targets": [query.target(number) for number, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": defaults, "overrides": list(self.overrides)},
            "options": self.options,
        }
        if self.transformations:
            panel["transformations"] = list(self.transformations)
        return panel


def stat(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    decimals: int | None = 0,
    late_above: float | None = None,
    mappings: Sequence[Json] = (),
) -> Panel:
    """A large figure above its history. It is red above `late_above`: the data is late or broken."""
    steps: list[Json] = [{"color": "blue", "value": None}]
    if late_above is not None:
        steps.append({"color": BROKEN, "value": late_above})
    return Panel(
        kind="stat",
        title=title,
        description=description,
        unit=unit,
        queries=queries,
        decimals=decimals,
        defaults={
            "color": {"mode": "thresholds"},
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": [_UNKNOWN, *mappings],
        },
        options={
            # "last" and not "lastNotNull": where the feed stopped, the last figure is not current.
            "reduceOptions": {"calcs": ["last"], "fields": "", "values": False},
            "graphMode": "area",
            "colorMode": "value",
            "textMode": "auto",
            "justifyMode": "auto",
            "orientation": "auto",
            "wideLayout": True,
            "showPercentChange": False,
        },
    )


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    decimals: int | None = None,
    width: int = 2,
    late_above: float | None = None,
) -> Panel:
    """Time series from zero, with gaps where nothing is known. `late_above` draws a red line."""
    steps: list[Json] = [{"color": "transparent", "value": None}]
    if late_above is not None:
        steps.append({"color": BROKEN, "value": late_above})
    return Panel(
        kind="timeseries",
        title=title,
        description=description,
        unit=unit,
        queries=queries,
        decimals=decimals,
        custom={
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": width,
            "fillOpacity": 0,
            "showPoints": "never",
            "spanNulls": False,
            "axisSoftMin": 0,
            "thresholdsStyle": {"mode": "off" if late_above is None else "line"},
        },
        defaults={
            "color": {"mode": "palette-classic-by-name"},
            "thresholds": {"mode": "absolute", "steps": steps},
        },
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def bars(title: str, description: str, unit: str, query: Query) -> Panel:
    """One bar per series, as of now."""
    return Panel(
        kind="bargauge",
        title=title,
        description=description,
        unit=unit,
        queries=(query,),
        decimals=0,
        defaults={
            "color": {"mode": "fixed", "fixedColor": "blue"},
            "min": 0,
            "thresholds": {"mode": "absolute", "steps": [{"color": "blue", "value": None}]},
            "mappings": [_UNKNOWN],
        },
        options={
            "reduceOptions": {"calcs": ["last"], "fields": "", "values": False},
            "displayMode": "basic",
            "orientation": "horizontal",
            "valueMode": "text",
            "showUnfilled": True,
            "minVizHeight": 16,
            "minVizWidth": 8,
            "namePlacement": "auto",
            "sizing": "auto",
        },
    )


def states(title: str, description: str, names: Sequence[tuple[str, str]], *queries: Query) -> Panel:
    """The named state (name, colour) that each series was in; the value n is state n."""
    mapping = {
        str(number): {"text": name, "color": color, "index": number}
        for number, (name, color) in enumerate(names)
    }
    return Panel(
        kind="state-timeline",
        title=title,
        description=description,
        unit="none",
        queries=queries,
        custom={"lineWidth": 0, "fillOpacity": 70, "spanNulls": False},
        defaults={
            "color": {"mode": "fixed", "fixedColor": "text"},
            "thresholds": {"mode": "absolute", "steps": [{"color": "text", "value": None}]},
            "mappings": [{"type": "value", "options": mapping}, _UNKNOWN],
        },
        options={
            "mergeValues": True,
            "showValue": "auto",
            "alignValue": "left",
            "rowHeight": 0.85,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    )


def ranking(title: str, description: str, by: Sequence[str], columns: Sequence[tuple[str, str]]) -> Panel:
    """A table of the first ten: `columns` are (name, query of instant vectors labelled by `by`).

    The first column ranks, with a bar in its cells; rows are joined by the last label of `by`.
    """
    queries = tuple(Query(expr, instant=True, table=True) for _, expr in columns)
    letters = [chr(ord("A") + number) for number in range(len(columns))]
    value = "Value" if len(columns) == 1 else "Value #A"
    names = {f"Value #{letter}": name for letter, (name, _) in zip(letters, columns, strict=True)}
    places = {label: place for place, label in enumerate([*by, *names])}
    return Panel(
        kind="table",
        title=title,
        description=description,
        unit="short",
        queries=queries,
        decimals=0,
        custom={"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
        defaults={
            "color": {"mode": "continuous-blues"},
            "thresholds": {"mode": "absolute", "steps": [{"color": "blue", "value": None}]},
            "min": 0,
            "mappings": [],
        },
        overrides=(
            {
                "matcher": {"id": "byName", "options": columns[0][0]},
                "properties": [
                    {
                        "id": "custom.cellOptions",
                        "value": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
                    }
                ],
            },
        ),
        transformations=(
            {"id": "merge", "options": {}},
            {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": value, "desc": True}]}},
            {
                "id": "organize",
                "options": {"excludeByName": {"Time": True}, "indexByName": places, "renameByName": names},
            },
        ),
        options={"showHeader": True, "cellHeight": "sm", "footer": {"show": False}},
    )
