"""`fanpulse alerts`: the alerts on record."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from fanpulse.board.wording import subject
from fanpulse.cli import context
from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.context import stderr
from schemas.alerts import ALERT, Milestone, Retraction, Spike
from schemas.dimensions import UnknownScopeError
from schemas.hashtags import AliasTable
from schemas.topics import ALERTS, qualified
from services.runtime.settings import Settings
from services.runtime.topic_scan import read_topic

#: Not the docstring, since its line breaks would be kept.
_HELP = (
    "List the alerts on record: milestones, spikes and retractions, newest last.\n\n"
    "Times are event times in UTC. The service that decides them is `fanpulse serve alerts`, and "
    "`fanpulse watch` shows them as they come."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse alerts[/cyan]",
        "[cyan]fanpulse alerts --limit 100 --format json | jq -r '.[].text'[/cyan]",
        "[bold]Exit codes[/bold]  0 listed, also if there are none · 2 wrong usage · 3 no broker, or no "
        "such stream",
    )
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP, epilog=_EPILOG)(alerts)


def alerts(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="List at most so many, the newest.")] = 20,
    everything: Annotated[
        bool, typer.Option("--all", help="Include milestones that a higher one replaced at the same time.")
    ] = False,
    output: Annotated[
        context.Format, typer.Option("--format", "-f", help="For people or for programs.")
    ] = context.Format.TABLE,
    namespace: context.Namespace = None,
) -> None:
    settings = context.settings_of_a_stream(namespace)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the raised error says the same
    found, unreadable = asyncio.run(_read(settings))
    listed = [alert for alert in found if everything or getattr(alert, "superseded_by", None) is None]
    shown = listed[-limit:]
    if output is context.Format.JSON:
        context.echo_json([alert.model_dump(mode="json") for alert in shown])
    else:
        _print_table(shown, len(listed), AliasTable(settings.hashtag_aliases))
    if unreadable:
        stderr.print(f"{unreadable} records of the alerts cannot be read and are left out", style="yellow")


async def _read(settings: Settings) -> tuple[list[Milestone | Retraction | Spike], int]:
    """The alerts on record in order of event time, and how many records cannot be read."""
    found, unreadable = {}, 0
    for record in await read_topic(settings, qualified(settings.namespace, ALERTS.name)):
        if record.value is None:
            continue
        try:
            alert = ALERT.validate_json(record.value)
        except ValidationError:
            unreadable += 1
        else:
            found[alert.id] = alert
    return sorted(found.values(), key=lambda each: (each.occurred_at, each.decided_at, each.id)), unreadable


def _print_table(shown: list[Milestone | Retraction | Spike], listed: int, aliases: AliasTable) -> None:
    console = PrintableConsole(highlight=False)
    if not shown:
        console.print("no alerts yet")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("TIME (UTC)", no_wrap=True)
    table.add_column("KIND", no_wrap=True)
    table.add_column("SUBJECT", overflow="fold")
    table.add_column("TEXT", ratio=1, overflow="fold")
    table.add_column("ID", no_wrap=True)
    for alert in shown:
        table.add_row(
            _time(alert.occurred_at),
            alert.kind,
            escape(_printable(_subject(alert, aliases))),
            escape(_printable(alert.text)),
            alert.id[:8],
        )
    console.print(table)
    if len(shown) < listed:
        console.print(f"{len(shown):,} of {listed:,} alerts; --limit {listed} lists all", style="dim")


def _subject(alert: Milestone | Retraction | Spike, aliases: AliasTable) -> str:
    try:
        return subject(alert.scope, alert.subject, aliases)
    except (UnknownScopeError, ValueError):  # of another version
        return " ".join(alert.subject)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _time(at_ms: int) -> str:
    """The time; the number itself if no calendar has it."""
    try:
        return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(at_ms)
