"""`fanpulse audit` and `fanpulse export`: recount the log, or copy it to files."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from fanpulse.cli import context
from fanpulse.cli.context import Exit, stderr
from services.runtime.private import files_for_the_user

if TYPE_CHECKING:
    from services.audit.recounting.result import AuditResult, Window

_Result = TypeVar("_Result")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(help=_AUDIT_HELP, epilog=_AUDIT_EPILOG)(audit)
    app.command(help=_EXPORT_HELP, epilog=_EXPORT_EPILOG, no_args_is_help=True)(export)


_AUDIT_HELP = (
    "Recount the whole log and compare every published figure.\n\n"
    "Code that shares nothing with the services derives totals, rolling counts and alerts again from the "
    "log, and compares them to the unit. You get a line per figure that differs, the event that crossed each "
    "milestone, and a verdict. Without DIR the command reads the running stream; with DIR it reads an export "
    "and needs no broker."
)
_AUDIT_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse audit[/cyan]",
        "[cyan]fanpulse audit --from 2026-06-22T09:00:00Z --to 2026-06-22T11:00:00Z[/cyan]   also "
        "recount two hours by themselves",
        "[cyan]fanpulse export june && fanpulse audit june --report june.json[/cyan]",
        "[bold]Exit codes[/bold]  0 all figures agree · 1 some differ, or it cannot be determined · 2 wrong "
        "usage, or DIR is not an export · 3 no broker, or no such stream",
    )
)
_EXPORT_HELP = (
    "Write the log, the totals and the alerts to a folder, as Parquet with a manifest.\n\n"
    "The folder appears complete or not at all, and replaces an earlier export in it. "
    "`fanpulse audit DIR` needs nothing else."
)
_EXPORT_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse export june[/cyan]",
        "[cyan]duckdb -c \"select account, count(*) from 'june/events/*.parquet' group by all\"[/cyan]",
    )
)
_TIME = "RFC 3339, a date (midnight UTC), or epoch milliseconds."


def audit(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="An export; default: the running stream.", show_default=False),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help=f"Event time to begin at: {_TIME}", show_default=False),
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="TIME", help="Event time to end before.", show_default=False)
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the whole result to this file, as JSON.", show_default=False
        ),
    ] = None,
    settle: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Longest wait until the services have counted and decided; default: audit.settle_seconds.",
            show_default=False,
        ),
    ] = None,
    namespace: context.Namespace = None,
) -> None:
    from services.audit.recounting.errors import AuditError
    from services.audit.recounting.summary import summary
    from services.audit.service import audit as run

    window = _window(from_, to)
    settings = (
        context.settings(namespace)
        if directory
        else context.settings_of_a_stream(namespace, otherwise=", or audit an export")
    )
    try:
        with _Display() as display:
            result = _run(
                run(
                    settings,
                    directory,
                    window=window,
                    settle_seconds=settle,
                    progress=display.progress,
                    step=display.step,
                )
            )
        if report is not None:
            _write_report(report, result)
    except (AuditError, OSError) as error:
        raise _rejected(error) from error
    for line in summary(result):
        context.echo(line)
    raise typer.Exit(Exit.OK if result.exact else Exit.FAILED)


def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder, or an earlier export.")
    ],
    namespace: context.Namespace = None,
) -> None:
    from services.audit.recounting.errors import AuditError
    from services.audit.service import export as run

    settings = context.settings_of_a_stream(namespace)
    try:
        with _Display() as display, files_for_the_user():
            display.step("reading")
            manifest = _run(run(settings, directory, display.progress))
    except (AuditError, OSError) as error:
        raise _rejected(error) from error
    entries = sum(part.entries for part in manifest.events.partitions)
    size = sum(file.bytes for file in manifest.files)
    context.echo(
        f"{directory}: {entries:,} entries of the log in {len(manifest.files)} files, {size:,} bytes"
    )


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    # The error that is raised says what the Kafka client complains of.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


class _Display:
    """A progress bar on standard error, if that is a terminal."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            console=stderr,
            transient=True,
            disable=not stderr.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def step(self, text: str) -> None:
        """Say what is being done."""
        self._bar.reset(self._task, description=text, total=None)

    def progress(self, done: int, total: int) -> None:
        """Say how many records have been read."""
        self._bar.update(self._task, completed=done, total=total)


def _window(begin: str | None, end: str | None) -> Window | None:
    from services.audit.recounting.result import Window

    if begin is None and end is None:
        return None
    window = Window(_time(begin, "--from"), _time(end, "--to"))
    if window.from_ms is not None and window.to_ms is not None and window.from_ms >= window.to_ms:
        raise typer.BadParameter("--from is not before --to")
    return window


def _time(text: str | None, option: str) -> int | None:
    from pydantic_core import PydanticCustomError

    from schemas.fields import parse_time

    if text is None:
        return None
    try:
        if len(text) == 10 and text.count("-") == 2:
            return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000
        return parse_time(int(text) if text.isascii() and text.isdecimal() else text)
    except PydanticCustomError as error:
        raise typer.BadParameter(error.message(), param_hint=option) from error
    except ValueError as error:
        raise typer.BadParameter(f"{text} is not a time: {_TIME}", param_hint=option) from error


def _write_report(file: Path, result: AuditResult) -> None:
    text = json.dumps(result.as_json(), ensure_ascii=False, indent=2)
    with files_for_the_user():
        file.write_text(text + "\n", encoding="utf-8")


def _rejected(error: Exception) -> typer.Exit:
    stderr.print(f"[bold red]fanpulse:[/bold red] {escape(str(error))}", soft_wrap=True)
    return typer.Exit(Exit.USAGE)
