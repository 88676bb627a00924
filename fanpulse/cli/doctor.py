"""`fanpulse doctor`: does this machine have everything that fanpulse needs?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import typer
from rich.markup import escape

from fanpulse.cli import context
from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.context import Exit
from fanpulse.devstack.checks import Finding, Level
from fanpulse.devstack.overview import overview
from services.runtime.settings import Settings

_HELP = (
    "Check Python, the extras, disk, ports, Java, the files that settings name (rules, keys, TLS), the "
    "broker and its topics, Prometheus and Grafana.\n\n"
    "Each problem comes with what to do about it. The command starts nothing and changes nothing."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse doctor[/cyan]",
        "[cyan]FANPULSE_KAFKA_BOOTSTRAP=kafka-1:9092 fanpulse doctor[/cyan]    before you use that broker",
        "[bold]Exit codes[/bold]  0 fanpulse can run, perhaps with warnings · 1 something is in the way · "
        "2 a setting is wrong",
    )
)
_SIGNS = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]✗[/red]"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP, epilog=_EPILOG, rich_help_panel="Local stack")(doctor)


def doctor(namespace: context.Namespace = None) -> None:
    console = PrintableConsole(highlight=False)
    levels: list[Level] = []

    def show(finding: Finding) -> None:
        levels.append(finding.level)
        console.print(f"{_SIGNS[finding.level]} {finding.subject:<13}{escape(finding.seen)}", soft_wrap=True)
        if finding.advice:
            console.print(f"  {'':<13}[dim]{escape(finding.advice)}[/dim]", soft_wrap=True)

    for finding in _findings(context.own_settings(namespace)):
        show(finding)
    bad, doubtful = levels.count(Level.FAIL), levels.count(Level.WARN)
    if bad:
        console.print(f"[red]{bad} of {len(levels)} findings stand in the way[/red]")
        raise typer.Exit(Exit.FAILED)
    console.print(
        f"nothing stands in the way ({doubtful} {'warning' if doubtful == 1 else 'warnings'})"
        if doubtful
        else "all is well"
    )


def _findings(loaded: Settings) -> Iterator[Finding]:
    """One after another, so that you see progress while a slow check runs."""
    from fanpulse.devstack.checks.access import access
    from fanpulse.devstack.checks.broker import broker
    from fanpulse.devstack.checks.machine import machine
    from fanpulse.devstack.checks.services import services
    from fanpulse.devstack.checks.settings_files import settings_files

    up, status = asyncio.run(overview(loaded))
    yield from machine(loaded, up=up)
    yield from access(loaded)
    yield from settings_files(loaded)
    yield from asyncio.run(broker(context.with_stack(loaded)))
    yield from services(status, up=up)
