"""`fanpulse dead-letters`: what was rejected and why, and how to send it again."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape

from fanpulse.cli import context
from fanpulse.cli.context import Exit, UnavailableError, stderr
from fanpulse.cli.dead_letters_display import as_json, print_dead_letter, print_report, print_table, time_of
from fanpulse.cli.ingest_client import connect
from fanpulse.deadletters.redrive import (
    DeadLetterNotFoundError,
    Redrive,
    RedriveReport,
    Snapshot,
    Transform,
    find_dead_letters,
    take_snapshot,
)
from fanpulse.deadletters.snapshot import Choice, Overview, short_id
from fanpulse.load.client import AddressError, IngestRejectedError, IngestUnavailableError
from fanpulse.load.parsing.rules import RulesError, parse_rules
from schemas.dead_letter import DeadLetter, RedriveMarker
from schemas.reasons import Reason
from services.runtime.settings import Settings
from services.runtime.topic_scan import TopicMissingError, open_reader

_Result = TypeVar("_Result")


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


_FORMAT = Annotated[Format, typer.Option("--format", help="For people or for programs.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=_HELP, epilog=_EPILOG)
    group.command("list")(list_dead_letters)
    group.command("show", no_args_is_help=True)(show)
    group.command("redrive", help=_REDRIVE_HELP, no_args_is_help=True)(redrive)
    app.add_typer(group, name="dead-letters")


_HELP = (
    "See what was rejected and why, and send it again with a corrected mapping.\n\n"
    "Ingest keeps every event that it rejects, byte for byte, for 90 days."
)
#: Not the docstring, since its line breaks would be kept.
_REDRIVE_HELP = (
    "Send the events of dead letters to ingest again, with a corrected mapping.\n\n"
    "Once accepted, a dead letter is not offered again. One that ingest would reject again is not sent, and "
    "stays. You can safely repeat the command: events keep their ids, and an event without an id gets one "
    "from its content (two with equal content then count once). Entries of the log that the aggregator "
    "rejected are sent only if you name their ids.\n\n"
    "Exit codes: 0 all accepted · 1 some were or would be rejected again · 2 wrong usage · 3 ingest or the "
    "broker cannot be reached"
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse dead-letters list --reason missing_field[/cyan]",
        "[cyan]fanpulse dead-letters show 3f9a1c02[/cyan]",
        "[cyan]fanpulse dead-letters redrive --reason missing_field --set platform=twitter --dry-run[/cyan]",
        "[cyan]fanpulse dead-letters redrive --all --map hashtags=hashtag[/cyan]",
    )
)


def list_dead_letters(
    reason: Annotated[
        str | None, typer.Option(help="Only those rejected for this reason.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="List at most so many, newest first.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="Include those that were sent again.")] = False,
    output: _FORMAT = Format.TABLE,
    namespace: context.Namespace = None,
) -> None:
    """List dead letters, newest first, and count them by reason.

    Exit codes: 0 done, also if there are none · 2 wrong usage · 3 no broker or no stack
    """
    choice = Choice(reason=_reason(reason))
    overview = Overview(limit)

    async def read(snapshot: Snapshot) -> dict[str, RedriveMarker]:
        async for dead_letter in snapshot.dead_letters(choice, redriven=everything):
            overview.add(dead_letter)
        return snapshot.markers

    markers = _with_snapshot(context.settings_of_a_stream(namespace), read)
    if output is Format.JSON:
        dead_letters = [as_json(dead_letter, markers) for dead_letter in overview.newest_first()]
        _print_json(
            {"dead_letters": dead_letters, "total": overview.total, "by_reason": dict(overview.by_reason)}
        )
    else:
        print_table(overview, markers)


def show(
    dead_letter_id: Annotated[str, typer.Argument(metavar="ID", help="An id, or its first characters.")],
    output: _FORMAT = Format.TABLE,
    namespace: context.Namespace = None,
) -> None:
    """Show one dead letter: what was sent, why it was rejected, and what may correct it.

    Exit codes: 0 shown · 2 no such dead letter · 3 no broker or no stack
    """

    async def read(snapshot: Snapshot) -> tuple[DeadLetter, RedriveMarker | None]:
        (dead_letter,) = await find_dead_letters(snapshot, [dead_letter_id])
        return dead_letter, snapshot.markers.get(dead_letter.id)

    dead_letter, marker = _with_snapshot(context.settings_of_a_stream(namespace), read)
    if output is Format.JSON:
        _print_json(
            as_json(dead_letter, {dead_letter.id: marker} if marker else {})
            | {"raw": base64.b64encode(dead_letter.raw).decode()}
        )
    else:
        print_dead_letter(dead_letter, marker)


def redrive(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID...]", help="Ids, or their first characters.", show_default=False),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="All that were rejected for this reason.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that have not been sent again yet.")] = False,
    kind: Annotated[
        str | None, typer.Option(help="Kind of the events that do not name one.", show_default=False)
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=KEY", help="Take a field from this key.", show_default=False),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set a field.", show_default=False),
    ] = None,
    drops: Annotated[
        list[str] | None, typer.Option("--drop", metavar="KEY", help="Leave a key out.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what ingest would accept; send nothing.")
    ] = False,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to keep trying while ingest accepts nothing.")
    ] = 60.0,
    url: Annotated[
        str | None,
        typer.Option(help="Address of ingest (default: the local stack).", show_default=False),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="API key of ingest; prefer FANPULSE_API_KEY.", show_default=False)
    ] = None,
    namespace: context.Namespace = None,
) -> None:
    """Send the events of dead letters to ingest again."""
    if [bool(ids), bool(reason), everything].count(True) != 1:
        raise _failure("name the dead letters: by id, by --reason, or --all", Exit.USAGE)
    settings = context.settings_of_a_stream(namespace)
    try:
        transform = Transform(parse_rules(kind, maps or (), sets or ()), drops or ())
        client = connect(settings, url, api_key, patience, _say_waiting)
        choice = Choice(reason=_reason(reason), of_log=False)
    except (RulesError, AddressError) as error:
        raise _failure(error, Exit.USAGE) from None
    work = Redrive(settings, client, transform)

    async def run(snapshot: Snapshot) -> None:
        dead_letters = (
            _each(await find_dead_letters(snapshot, ids), snapshot.markers)
            if ids
            else snapshot.dead_letters(choice)
        )
        if dry_run:
            await work.try_out(dead_letters)
        else:
            await work.run(dead_letters, _say_progress)

    try:
        _with_snapshot(settings, run)
    except (IngestUnavailableError, IngestRejectedError) as error:
        raise _failure(
            f"{error}. What ingest accepted before that is not offered again.", Exit.UNAVAILABLE
        ) from None
    finally:
        client.close()
    print_report(work.report, dry_run)
    raise typer.Exit(Exit.FAILED if work.report.rejected else Exit.OK)


async def _each(
    dead_letters: Iterable[DeadLetter], markers: dict[str, RedriveMarker]
) -> AsyncIterator[DeadLetter]:
    """Dead letters that were named by id, without those that were sent again."""
    for dead_letter in dead_letters:
        if dead_letter.id in markers:
            stderr.print(
                f"{short_id(dead_letter.id)} was sent again at "
                f"{time_of(markers[dead_letter.id].at)}; it is left out"
            )
        else:
            yield dead_letter


def _say_progress(report: RedriveReport) -> None:
    if stderr.is_terminal:
        stderr.print(f"{report.accepted:,} accepted so far", end="\r")


def _say_waiting(problem: str, seconds: float) -> None:
    stderr.print(f"{problem}; trying again", markup=False, soft_wrap=True)


def _with_snapshot(settings: Settings, work: Callable[[Snapshot], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run something on a snapshot; errors that you can do something about end the command."""

    async def run() -> _Result:
        async with open_reader(settings) as reader:
            return await work(await take_snapshot(reader, settings))

    try:
        return asyncio.run(run())
    except TopicMissingError as error:
        raise UnavailableError(str(error)) from error
    except DeadLetterNotFoundError as error:
        raise _failure(error, Exit.USAGE) from None


def _reason(text: str | None) -> str | None:
    if text is not None and text not in list(Reason):
        raise _failure(f"--reason {text}: the reasons are {', '.join(Reason)}", Exit.USAGE)
    return text


def _failure(reason: object, code: Exit) -> typer.Exit:
    stderr.print(f"[bold red]fanpulse dead-letters:[/bold red] {escape(str(reason))}", soft_wrap=True)
    return typer.Exit(code)


def _print_json(value: object) -> None:
    context.echo_json(value, indent=None)
