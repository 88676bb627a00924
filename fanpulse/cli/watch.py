"""`fanpulse watch`: the live board of a running stack."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Annotated

import typer

from fanpulse.cli import context
from fanpulse.cli.console import PrintableConsole
from services.runtime.topic_scan import TopicMissingError

#: Not the docstring, since its line breaks would be kept.
_HELP = (
    "Show the live board: broadcasts, accounts, hashtags, rates, and alerts as they come.\n\n"
    "The board reads the topics like any other reader, and changes nothing. In a terminal it takes the whole "
    "screen and follows its size. Elsewhere it prints a summary every three seconds, and a line per alert."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse watch[/cyan]                       until Ctrl-C",
        "[cyan]fanpulse watch --once[/cyan]                print the board as it is now",
        "[cyan]fanpulse watch --namespace demo[/cyan]      show a demo that runs in another terminal",
        "[bold]Exit codes[/bold]  0 shown · 2 wrong settings · 3 no broker, or no stack · 130 interrupted",
    )
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP, epilog=_EPILOG)(watch)


def watch(
    once: Annotated[bool, typer.Option("--once", help="Print the board once and return.")] = False,
    namespace: context.Namespace = None,
) -> None:
    settings = context.settings_of_a_stream(namespace, otherwise=", or see it all with `fanpulse demo`")
    _quiet_libraries()
    from fanpulse.board.watch import WatchSession

    session = WatchSession(settings, settings.hashtag_aliases, PrintableConsole(highlight=False))
    try:
        asyncio.run(session.print_once() if once else session.follow())
    except TopicMissingError as error:
        raise context.UnavailableError(f"nothing has been counted yet: {error}") from error
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


def _quiet_libraries() -> None:
    """The board owns the terminal; a problem of the Kafka client shows as the age of the data."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
