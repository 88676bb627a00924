"""`fanpulse repartition`: more partitions, or a stream time that is right again, by a new stream."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from fanpulse.cli import context

_HELP = (
    "Copy the stream into a new namespace with another number of partitions.\n\n"
    "A stream keeps the partitions that it began with: an id has to meet its repetition in the same one. "
    "This copies every counted event in order, with stream time, posts and alerts, so that all figures are "
    "the same and nothing is told again. Stop ingest first and wait until everything is counted; "
    "afterwards set FANPULSE_NAMESPACE for all services. The old stream stays as it is.\n\n"
    "It is also the way back when a wrong clock has taken stream time into the future: clock records of "
    "times to come are left out."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse repartition --partitions 8 --into gansu-8[/cyan]",
        "[cyan]FANPULSE_NAMESPACE=gansu-8 fanpulse audit[/cyan]    once its aggregator has counted",
        "[bold]Exit codes[/bold]  0 copied · 1 it cannot be copied exactly · 2 wrong usage · 3 no broker",
    )
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP, epilog=_EPILOG, no_args_is_help=True)(repartition)


def repartition(
    partitions: Annotated[
        int, typer.Option(min=1, max=1024, help="Partitions of the new stream.", show_default=False)
    ],
    into: Annotated[
        str,
        typer.Option(metavar="NAMESPACE", help="A namespace that was never used.", show_default=False),
    ],
    namespace: context.Namespace = None,
) -> None:
    from fanpulse.repartition.copying import repartition as run

    settings = context.settings_of_a_stream(namespace)
    if into == settings.namespace:
        raise context.UsageError(f"--into {into} is the namespace of this stream; choose another")
    context.check_namespace("--into", into)
    copied = asyncio.run(run(settings, partitions, into))
    before, now = copied.partitions
    if copied.clocks_left_out:
        context.echo(
            f"{copied.clocks_left_out:,} clock records of times to come were left out: in the new stream, "
            "stream time is right again."
        )
    context.echo(
        f"{copied.events:,} counted events of {before} partitions copied into {now}; {copied.alerts:,} "
        f"alerts and {copied.posts:,} posts carried over. Set FANPULSE_NAMESPACE={into} for all services, "
        "start them, and run `fanpulse audit`."
    )
