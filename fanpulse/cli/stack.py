"""`fanpulse up`, `down` and `status`: the local stack."""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from fanpulse.cli import context
from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.context import Exit, stderr
from fanpulse.cli.endings import os_error
from fanpulse.devstack.disk import in_words, shortage
from fanpulse.devstack.kafka import require_modules
from fanpulse.devstack.preflight import require_usable
from fanpulse.devstack.state import Status
from services.runtime import logging
from services.runtime.kafka import BrokerUnavailableError
from services.runtime.private import close_state
from services.runtime.settings import Settings, SettingsError

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
        "3 the broker cannot be reached · 4 it is already running (with --detach: with other settings)",
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
    namespace: context.Namespace = None,
    link: Annotated[int, typer.Option("--link", hidden=True, help="Descriptor of `up --detach`.")] = -1,
) -> None:
    settings = context.own_settings(namespace)
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


def down(namespace: context.Namespace = None) -> None:
    from fanpulse.devstack.shutdown import ShutdownError, shut_down
    from fanpulse.devstack.state_paths import StatePaths

    try:
        with stderr.status("stopping"):
            ran = shut_down(StatePaths.of(context.own_settings(namespace)))
    except ShutdownError as error:
        _fail(error, Exit.FAILED)
    console.print("[green]✓[/green] the stack is down" if ran else "nothing runs")


def status(
    format: Annotated[
        StatusFormat, typer.Option("--format", help="How to print it; json for programs.")
    ] = StatusFormat.TABLE,
    namespace: context.Namespace = None,
) -> None:
    from fanpulse.devstack.overview import overview

    settings = context.own_settings(namespace)
    up, found = asyncio.run(overview(settings))
    if format is StatusFormat.JSON:
        context.echo_json(found)
    elif up:
        _print_status(found)
    if not up:
        raise context.UnavailableError(context.nothing_runs(settings))


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
        _show_running(settings, workers)
        return
    console.print(_headline(settings), soft_wrap=True)
    arguments = ["--workers", str(workers), "--namespace", settings.namespace]
    try:
        status = start(state_paths, arguments, console_reporter(console), DownloadProgress(console))
    except DetachError as error:
        _fail(error, error.code)
    _print_ready(status)
    console.print("stop it with [cyan]fanpulse down[/cyan]")


def _show_running(settings: Settings, workers: int) -> None:
    """The stack runs already: show it, or say which settings it was not started with."""
    from fanpulse.devstack import state
    from fanpulse.devstack.launched import differences
    from fanpulse.devstack.overview import overview
    from fanpulse.devstack.state_paths import StatePaths

    launched = state.launched(StatePaths.of(settings))
    if launched is not None and (changed := differences(launched, settings, workers)):
        how = f" --namespace {settings.namespace}" if settings.namespace else ""
        stderr.print(
            "[bold red]fanpulse:[/bold red] the stack runs with other settings: "
            f"{escape('; '.join(changed))}. `fanpulse down{how} && fanpulse up --detach{how}` starts it with "
            "yours",
            soft_wrap=True,
        )
        raise typer.Exit(Exit.ALREADY_UP)
    console.print("the stack is already running")
    _print_status(asyncio.run(overview(settings))[1])


def _print_status(status: Status) -> None:
    """What runs, where its files are, and which other stacks run."""
    console.print(_table(status))
    folder = status["state_folder"]
    console.print(f"state in {escape(folder['path'])}, {in_words(folder['free_bytes'])} free", soft_wrap=True)
    if full := shortage(Path(folder["path"])):
        console.print(f"[red]{escape(full)}[/red]", soft_wrap=True)
    for name in status["running"]:
        if name != status["namespace"]:
            console.print(
                f"another stack runs: `fanpulse status --namespace {name or repr(name)}`, and so for every "
                "command",
                soft_wrap=True,
            )


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
        except OSError as error:
            if error.errno is None:
                raise
            link.failed(*os_error(error))


def _fail(error: Exception, code: int) -> NoReturn:
    stderr.print(f"[bold red]fanpulse:[/bold red] {escape(str(error))}", soft_wrap=True)
    raise typer.Exit(code) from error


def _headline(settings: Settings) -> str:
    name = f"the stack [bold]{settings.namespace}[/bold]" if settings.namespace else "the stack"
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
