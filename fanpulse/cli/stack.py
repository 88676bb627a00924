"""`fanpulse up`, `down` and `status`: the local stack."""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum
from typing import Annotated, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from fanpulse.cli import context
from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.context import Exit, stderr
from fanpulse.devstack.kafka import require_modules
from fanpulse.devstack.preflight import require_usable
from fanpulse.devstack.state import Status
from services.runtime import logging
from services.runtime.kafka import BrokerUnavailableError
from services.runtime.private import close_state
from services.runtime.settings import Settings, SettingsError, load_settings

_PANEL = "Local stack"
console = PrintableConsole(highlight=False)

# Not the docstrings, since their line breaks would be kept.
_UP_HELP = (
    "Start Kafka, ingest, aggregate, alerts, and Prometheus and Grafana if they are installed.\n\n"
    "The supervisor restarts a service that dies. Ctrl-C ends everything in order, and no process outlives "
    "this one. If FANPULSE_KAFKA_BOOTSTRAP is set, the stack uses that broker and starts none."
)
_UP_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse up[/cyan]                               in this terminal",
        "[cyan]fanpulse up --detach[/cyan]                      in the background",
        "[cyan]FANPULSE_NAMESPACE=trial fanpulse up[/cyan]      a second stack that shares nothing",
        "[bold]Exit codes[/bold]  0 ready, or ended by you · 1 it did not start · 2 a setting is wrong · "
        "3 the broker cannot be reached · 4 it is already running (no error with --detach)",
    )
)
_DOWN_HELP = (
    "End the stack of `fanpulse up`, and return when all of its processes are gone.\n\n"
    "The data stays, and the next `fanpulse up` continues with it. It is no error if nothing runs."
)
_DOWN_EPILOG = "\n\n".join(
    (
        "[bold]Example[/bold]",
        "[cyan]fanpulse down[/cyan]",
        "[bold]Exit codes[/bold]  0 nothing runs any more · 1 a process does not end",
    )
)
_STATUS_HELP = "Show what runs, where it listens and whether it is ready."
_STATUS_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse status[/cyan]",
        "[cyan]fanpulse status --format json | jq -r '.ingest\\[0].url'[/cyan]    in a script",
        "[bold]Exit codes[/bold]  0 the stack is up · 3 it is not",
    )
)


class StatusFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel=_PANEL, help=_UP_HELP, epilog=_UP_EPILOG)(up)
    app.command(rich_help_panel=_PANEL, help=_DOWN_HELP, epilog=_DOWN_EPILOG)(down)
    app.command(rich_help_panel=_PANEL, help=_STATUS_HELP, epilog=_STATUS_EPILOG)(status)


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when everything is ready; `fanpulse down` ends it.")
    ] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Number of aggregator processes.")
    ] = 1,
    link: Annotated[int, typer.Option("--link", hidden=True, help="Descriptor of `up --detach`.")] = -1,
) -> None:
    settings = load_settings()
    close_state(settings.state_dir)
    logging.configure("warning", "console")  # the supervisor has events for people; services have own logs
    if settings.kafka.bootstrap is None:
        require_modules()
    require_usable(settings)
    if link >= 0:
        _run_detached(settings, workers, link)
    elif detach:
        _up_detached(settings, workers)
    else:
        _up_here(settings, workers)


def down() -> None:
    from fanpulse.devstack.shutdown import ShutdownError, shut_down
    from fanpulse.devstack.state_paths import StatePaths

    try:
        with stderr.status("stopping"):
            ran = shut_down(StatePaths.of(load_settings()))
    except ShutdownError as error:
        _fail(error, Exit.FAILED)
    console.print("[green]✓[/green] the stack is down" if ran else "nothing runs")


def status(
    format: Annotated[
        StatusFormat, typer.Option("--format", help="How to print it; json for programs.")
    ] = StatusFormat.TABLE,
) -> None:
    from fanpulse.devstack.overview import overview

    up, found = asyncio.run(overview(load_settings()))
    if format is StatusFormat.JSON:
        context.echo_json(found)
    elif up:
        console.print(_table(found))
    if not up:
        stderr.print("no stack is up; start one with `fanpulse up --detach`", soft_wrap=True)
        raise typer.Exit(Exit.UNAVAILABLE)


def _up_here(settings: Settings, workers: int) -> None:
    """Run the stack in this terminal until a signal."""
    from fanpulse.devstack.console_reporter import DownloadProgress, console_reporter
    from fanpulse.devstack.run import until_signal
    from fanpulse.devstack.stack import AlreadyUpError, StackError

    console.print(_headline(settings), soft_wrap=True)
    try:
        asyncio.run(
            until_signal(
                settings, workers, console_reporter(console), DownloadProgress(console), _print_ready
            )
        )
    except AlreadyUpError as error:
        _fail(error, Exit.ALREADY_UP)
    except StackError as error:
        _fail(error, Exit.FAILED)


def _up_detached(settings: Settings, workers: int) -> None:
    """Start the supervisor in its own process."""
    from fanpulse.devstack import state
    from fanpulse.devstack.console_reporter import DownloadProgress, console_reporter
    from fanpulse.devstack.detach import DetachError, start
    from fanpulse.devstack.state_paths import StatePaths

    state_paths = StatePaths.of(settings)
    running = state.read(state_paths)
    if running is not None and running["alerts"]:
        console.print("the stack is already running")
        console.print(_table(running))
        return
    console.print(_headline(settings), soft_wrap=True)
    try:
        status = start(
            state_paths, ["--workers", str(workers)], console_reporter(console), DownloadProgress(console)
        )
    except DetachError as error:
        _fail(error, error.code)
    _print_ready(status)
    console.print("stop it with [cyan]fanpulse down[/cyan]")


def _run_detached(settings: Settings, workers: int, descriptor: int) -> None:
    """Run the supervisor in that process."""
    from fanpulse.devstack.detach import Link
    from fanpulse.devstack.run import detached
    from fanpulse.devstack.stack import AlreadyUpError, StackError

    with contextlib.closing(Link(descriptor)) as link:
        try:
            asyncio.run(detached(settings, workers, link))
        except AlreadyUpError as error:
            link.failed(str(error), Exit.ALREADY_UP)
        except BrokerUnavailableError as error:
            link.failed(str(error), Exit.UNAVAILABLE)
        except SettingsError as error:
            link.failed(str(error), Exit.USAGE)
        except StackError as error:
            link.failed(str(error), Exit.FAILED)


def _fail(error: Exception, code: int) -> NoReturn:
    stderr.print(f"[bold red]fanpulse:[/bold red] {escape(str(error))}", soft_wrap=True)
    raise typer.Exit(code) from error


def _headline(settings: Settings) -> str:
    name = f"[bold]{settings.namespace}[/bold]" if settings.namespace else "the stack"
    return f"starting {name}; its state is in {escape(str(settings.state_dir))}"


def _print_ready(status: Status) -> None:
    ingest = status["ingest"][0]["url"]
    console.print("[bold green]ready[/bold green]: send events to", f"{ingest}/v1/events", soft_wrap=True)


def _table(status: Status) -> Table:
    """A table with one line per process."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "pid", "address", "health"):
        table.add_column(heading, overflow="fold")
    for group in ("kafka", "ingest", "aggregate", "alerts", "prometheus", "grafana"):
        entries = status[group] if isinstance(status[group], list) else [status[group]]
        for entry in filter(None, entries):
            address = entry.get("bootstrap") or entry.get("url") or entry.get("metrics") or ""
            pid = "" if entry["pid"] is None else str(entry["pid"])
            table.add_row(group, pid, address, _health(entry.get("health", "")))
    return table


def _health(health: str) -> str:
    return f"[green]{health}[/green]" if health == "ready" else f"[yellow]{health}[/yellow]"
