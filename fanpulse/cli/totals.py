"""`fanpulse totals`: shows the counts of engagement.totals.v1."""

from __future__ import annotations

import asyncio
import csv
import logging
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanpulse.cli import context
from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.context import stderr
from schemas.dimensions import DIMENSIONS, Dimension
from schemas.events import GAUGES, WITHDRAWALS
from schemas.hashtags import AliasTable
from schemas.printable import spreadsheet_cell
from schemas.topics import TOTALS, qualified
from schemas.totals import Key, TotalsView, net
from services.runtime.settings import Settings
from services.runtime.topic_scan import open_reader

#: What is listed. Posts are left out: a stream may have millions of them.
_LISTED = tuple(dimension for dimension in DIMENSIONS if dimension.listed)


class Format(StrEnum):
    """How totals are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP, epilog=_EPILOG)(totals)


_HELP = (
    "Show what has been counted so far, per account, hashtag, campaign, country and so on, and the latest "
    "readings.\n\n"
    "Totals are gross. Net is the total less what people took back, such as likes less unlikes. A reading is "
    "net by itself; gained and lost are its rises and falls since it was first seen. Figures are exact as of "
    "the offsets below them: a recount of the log up to there gives the same."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse totals[/cyan]",
        "[cyan]fanpulse totals --format csv > totals.csv[/cyan]",
        "[cyan]fanpulse totals --format json | jq '.accounts[] | select(.action == \"like\")'[/cyan]",
    )
)


def totals(
    format_: Annotated[
        Format, typer.Option("--format", "-f", help="For people, for programs, or for a spreadsheet.")
    ] = Format.TABLE,
    namespace: context.Namespace = None,
) -> None:
    settings = context.settings_of_a_stream(namespace)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the raised error says the same
    view, unreadable = asyncio.run(_read(settings))
    found = as_json(view, AliasTable(settings.hashtag_aliases))
    if format_ is Format.JSON:
        context.echo_json(found)
    elif format_ is Format.CSV:
        rows = ([spreadsheet_cell(cell) for cell in row] for row in _csv_rows(found))
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    else:
        _print_tables(found)
    if unreadable:
        stderr.print(f"{unreadable} records of the totals cannot be read and are ignored", style="yellow")


async def _read(settings: Settings) -> tuple[TotalsView, int]:
    """The current totals, and how many records cannot be read."""
    view, unreadable = TotalsView(), 0
    topic = qualified(settings.namespace, TOTALS.name)
    async with open_reader(settings) as reader:
        async for records in reader.stream(topic, await reader.spans(topic)):
            for record in records:
                try:
                    view.apply(record.partition, record.key or b"", record.value)
                except msgspec.MsgspecError:
                    unreadable += 1
    return view, unreadable


def as_json(view: TotalsView, aliases: AliasTable) -> dict[str, list[dict[str, Any]]]:
    """Totals for programs: lists sorted by name, so that equal totals give equal output."""
    return {
        **{_list_name(dimension): list(_counts(view, dimension, aliases)) for dimension in _LISTED},
        "readings": [
            {"platform": key[1], "subject": key[2], "metric": key[3], **_latest(view, key)}
            for key in sorted(view.keys("reading"))
        ],
        "as_of": list(view.as_of()),
    }


def _list_name(dimension: Dimension) -> str:
    return dimension.heading.lower().replace(" ", "_")


def _counts(view: TotalsView, dimension: Dimension, aliases: AliasTable) -> Iterator[dict[str, Any]]:
    """A row for each action of each subject: its names, and the display name of a hashtag."""
    for key, action, total, net_total in _actions(view, dimension.scope):
        row = dict(zip(dimension.names, key[1:], strict=True))
        if "hashtag" in row:
            row["display"] = aliases.display(str(row["hashtag"]))
        yield {**row, "action": action, "total": total, "net": net_total}


def _actions(view: TotalsView, scope: str) -> Iterator[tuple[Key, str, int, int | None]]:
    """Key, action, gross and net count; a withdrawal has no net count of its own."""
    for key in sorted(view.keys(scope)):
        actions = view.actions(key)
        for action, total in sorted(actions.items()):
            yield key, action, total, None if action in WITHDRAWALS else net(actions, action)


def _latest(view: TotalsView, key: Key) -> dict[str, int | None]:
    """The newest value of a reading with its gains and losses (None for a gauge). Of two values with the same
    time, that of the higher partition."""
    entries = sorted(view.partials[key].items())
    newest: dict[str, int] = max((entry for _, entry in reversed(entries)), key=lambda entry: entry["at_ms"])
    followed = key[3] not in GAUGES
    return {
        "value": newest["value"],
        "gained": newest.get("gained") if followed else None,
        "lost": newest.get("lost") if followed else None,
    }


def _csv_rows(found: dict[str, list[dict[str, Any]]]) -> Iterator[list[Any]]:
    yield ["scope", "platform", "name", "display", "metric", "value", "net", "gained", "lost"]
    for dimension in _LISTED:
        for row in found[_list_name(dimension)]:
            name = row[dimension.names[-1]] if dimension.names else ""
            names = [row.get("platform", ""), name, row.get("display", name), row["action"]]
            yield [dimension.scope, *names, row["total"], row["net"], None, None]
    for row in found["readings"]:
        names = [row["platform"], row["subject"], row["subject"], row["metric"]]
        yield ["reading", *names, row["value"], row["value"], row["gained"], row["lost"]]


def _print_tables(found: dict[str, list[dict[str, Any]]]) -> None:
    console = PrintableConsole(highlight=False)
    counts, history = ["total", "net"], ["value", "gained", "lost"]
    for dimension in _LISTED:
        names = [*dimension.names, "action"]
        rows = [
            [*(_shown(row, name) for name in names), *(row[name] for name in counts)]
            for row in found[_list_name(dimension)]
        ]
        _print_table(console, dimension.heading, names, counts, rows)
    names = ["platform", "subject", "metric"]
    rows = [[row[name] for name in (*names, *history)] for row in found["readings"]]
    _print_table(console, "Readings", names, history, rows)
    as_of = ", ".join(f"partition {each['partition']}: offset {each['offset']:,}" for each in found["as_of"])
    console.print(f"as of {as_of}" if as_of else "nothing is counted yet", style="dim")


def _shown(row: dict[str, Any], name: str) -> str:
    return f"#{row['display']}" if name == "hashtag" else str(row[name])


def _print_table(
    console: Console, title: str, names: list[str], figures: list[str], rows: list[list[Any]]
) -> None:
    if not rows:
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in names:
        table.add_column(column, overflow="fold")
    for column in figures:
        table.add_column(column, justify="right")
    for row in rows:
        shown = ["" if figure is None else f"{figure:,}" for figure in row[len(names) :]]
        table.add_row(*map(escape, row[: len(names)]), *shown)
    console.print(table)
    console.print()
