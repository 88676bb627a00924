"""All commands. A module of this package holds a group of them, and adds them by ``register(app)``."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Annotated

import typer

from fanpulse.cli import context
from fanpulse.cli.context import UsageError

#: In the order of the help page.
GROUPS = (
    "demo",
    "stack",
    "load",
    "totals",
    "alerts",
    "rules",
    "watch",
    "audit",
    "void",
    "dead_letters",
    "doctor",
    "stream",
    "repartition",
    "serve",
)
#: Words that were commands, and what says the same now.
MOVED = {"ingest": "serve ingest", "aggregate": "serve aggregate"}
_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

_HELP = (
    "Count the engagement of an organisation's social accounts, live and exactly.\n\n"
    "[bold]Try it:[/bold] [cyan]fanpulse demo[/cyan] plays two hours of a live broadcast in two minutes."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse up --detach[/cyan]            start Kafka and all services",
        "[cyan]fanpulse load posts.csv.gz[/cyan]      load recorded events",
        "[cyan]fanpulse totals --format csv[/cyan]    show what was counted",
        "[cyan]fanpulse audit[/cyan]                  recount everything and compare",
        "[bold]Exit codes[/bold]  0 done · 1 a verdict or a check is bad · 2 wrong usage or settings, or "
        "an extra is missing · 3 no broker or no stack · 4 the stack is already running · 130 interrupted",
        "[bold]Settings[/bold]  environment variables FANPULSE_… and one TOML file; see docs/settings.md.",
    )
)


def build_app() -> typer.Typer:
    """All commands. A word that was a command is answered with the command that it is now."""
    app = typer.Typer(
        name="fanpulse",
        help=_HELP,
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in GROUPS:
        importlib.import_module(f"fanpulse.cli.{name}").register(app)
    for word, now in MOVED.items():
        app.command(word, hidden=True, context_settings=_ANYTHING)(_moved(word, now))
    return app


def _moved(word: str, now: str) -> Callable[[], None]:
    def command() -> None:
        raise UsageError(f"`fanpulse {word}` is `fanpulse {now}` now")

    return command


def _version(wanted: bool) -> None:
    if wanted:
        context.echo(f"fanpulse {importlib.metadata.version('fanpulse')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
