"""`fanpulse load`: recorded events from files into ingest."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fanpulse.cli import context
from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.context import Exit, stderr
from fanpulse.cli.ingest_client import connect
from fanpulse.cli.interrupt import Interrupt
from fanpulse.cli.load_display import LoadDisplay
from fanpulse.load.client import AddressError, IngestRejectedError, IngestUnavailableError
from fanpulse.load.loading import Limits
from fanpulse.load.opening import STANDARD_INPUT
from fanpulse.load.parsing.rules import RulesError, parse_rules
from fanpulse.load.rate_limiter import SpeedError, parse_speed
from fanpulse.load.session import FileError, Options, Session
from services.runtime.private import close_state
from services.runtime.settings import Settings


class Kind(StrEnum):
    """Kinds of events, for the help page."""

    INTERACTION = "interaction"
    POST = "post"
    READING = "reading"
    BROADCAST = "broadcast"


class TimeUnitChoice(StrEnum):
    """What a time that is a number counts."""

    AUTO = "auto"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP, epilog=_EPILOG, no_args_is_help=True)(load)


#: Not the docstring, since its line breaks would be kept.
_HELP = (
    "Load recorded events from files.\n\n"
    "Columns named like fields (occurred_at, platform, account, post_id, actor.id, hashtags, ...) map by "
    "themselves; other columns are ignored. A row without an event_id gets a hash of its content, so a file "
    "that is loaded twice counts once. A row that cannot be used is reported with its line and kept as a "
    "dead letter; the rest is loaded. An interrupted load continues where it stopped."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse load events.jsonl[/cyan]",
        "[cyan]fanpulse load posts.csv.gz --kind post --map occurred_at=published_at "
        "--map post_id=post[/cyan]",
        "[cyan]fanpulse load likes-*.parquet --kind interaction --set platform=facebook "
        "--set account=VisitGansu --set action=like --errors rejected.jsonl[/cyan]",
        "[cyan]kcat -C -t my-topic | fanpulse load -[/cyan]",
        "[bold]Exit codes[/bold]  0 every row was accepted · 1 some rows were rejected · 2 wrong options, or "
        "a file that cannot be read · 3 ingest cannot be reached or rejects the client · 130 interrupted. "
        "After 3 and 130, the same command continues where it stopped. More: docs/load.md",
    )
)


def load(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="JSON lines, CSV, TSV or Parquet, plain or compressed (gzip, zstd, bzip2, xz), whatever "
            "the name; - is standard input.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        Kind | None, typer.Option(help="Kind of the rows that name none.", show_default=False)
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Which column fills a field.", show_default=False),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="A field's value in every row.", show_default=False
        ),
    ] = None,
    speed: Annotated[
        str, typer.Option(metavar="max|1x|60x", help="How fast: as fast as possible, or by recorded time.")
    ] = "max",
    time_unit: Annotated[
        TimeUnitChoice, typer.Option(help="Times that are numbers: auto goes by their size.")
    ] = TimeUnitChoice.AUTO,
    timezone: Annotated[str, typer.Option(help="Zone of times without an offset.")] = "UTC",
    time_format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT", help="How texts that are times are written: %d/%m/%Y %H:%M.", show_default=False
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=20_000, help="Most rows in one request.")] = 2000,
    in_flight: Annotated[int, typer.Option(min=1, max=32, help="Most requests in flight.")] = 4,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to keep trying while ingest accepts nothing.")
    ] = 60.0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin again, even if a load was interrupted.")
    ] = False,
    errors: Annotated[
        Path | None, typer.Option(help="Write every rejected row here, as JSON lines.", show_default=False)
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Address of ingest (default: the local stack).", show_default=False),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(help="API key of ingest; FANPULSE_API_KEY hides it from others.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
    namespace: context.Namespace = None,
) -> None:
    """Load recorded events from files."""
    settings = context.settings(namespace)
    close_state(settings.state_dir)
    try:
        rules = parse_rules(kind, maps or (), sets or (), time_unit.value, timezone, time_format)
        options = Options(
            rules, Limits(batch, in_flight=in_flight), parse_speed(speed), restart=restart, errors=errors
        )
        display = LoadDisplay(
            PrintableConsole(highlight=False), stderr, quiet=quiet, dedup_window=_dedup_window(settings)
        )
        client = connect(settings, url, api_key, patience, display.waiting)
    except (RulesError, SpeedError, AddressError) as error:
        raise _failure(error, Exit.USAGE) from None
    with Interrupt(lambda: _say_stopping(quiet)) as interrupt:
        try:
            with Session(
                files,
                options,
                client,
                display,
                folder=settings.state_dir / "load",
                destination=url or f"namespace {settings.namespace}",
                stop=interrupt.asked,
            ) as session:
                session.check()
                with display:
                    finished = session.run()
        except FileError as error:
            raise _failure(error, Exit.USAGE) from None
        except (IngestUnavailableError, IngestRejectedError) as error:
            raise _failure(f"{error}. {_how_to_go_on(files)}", Exit.UNAVAILABLE) from None
        except KeyboardInterrupt:
            # Threads may hang in a request; what has been settled is in the checkpoint.
            sys.stdout.flush()
            os._exit(interrupt.code)
    client.close()
    if not finished:
        rows = sum(report.result.rows for report in session.reports)
        stderr.print(f"Interrupted after {rows:,} rows. {_how_to_go_on(files)}", markup=False, soft_wrap=True)
        raise typer.Exit(interrupt.code)
    rejected = any(report.result.rejected for report in session.reports)
    raise typer.Exit(Exit.FAILED if rejected else Exit.OK)


def _dedup_window(settings: Settings) -> int:
    """For how many events duplicates are remembered at least, over all partitions."""
    aggregate = settings.aggregate
    return aggregate.dedup_segment_events * aggregate.dedup_segments * settings.kafka.partitions


def _say_stopping(quiet: bool) -> None:
    if not quiet:
        stderr.print("Stopping once the requests under way are answered; press Ctrl-C again to stop at once.")


def _how_to_go_on(files: list[str]) -> str:
    if STANDARD_INPUT in files:
        return "Standard input cannot be resumed: send it again; rows that were loaded before count once."
    return "What was acknowledged is kept: run the same command again to resume."


def _failure(reason: object, code: Exit) -> typer.Exit:
    stderr.print(f"[bold red]fanpulse load:[/bold red] {escape(str(reason))}", soft_wrap=True)
    return typer.Exit(code)
