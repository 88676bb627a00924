"""`fanpulse demo`: the whole product on one screen."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.markup import escape

from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.context import Exit, stderr
from services.runtime.settings import load_settings

if TYPE_CHECKING:
    from fanpulse.simulate.demo import Demo

#: Not the docstring, since its line breaks would be kept.
_HELP = (
    "Play two hours of a live broadcast in two minutes, and check every figure at the end.\n\n"
    "The demo starts Kafka and all services in a namespace of its own, beside anything else that runs. It "
    "sends some 120,000 events through ingest: six accounts, the Fuxi Grand Ceremony with three moments that "
    "everybody reacts to, a picture of apricot blossom that goes viral, and duplicates, late and malformed "
    "events among them. A live board shows what is counted. Then independent code counts the log again, and "
    "compares it with everything that was published."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse demo[/cyan]                               watch it; the stack runs until Ctrl-C",
        "[cyan]fanpulse demo --once --report demo.json[/cyan]     for a script: end with a verdict",
        "[cyan]fanpulse demo --once --speed 600[/cyan]            two hours in twelve seconds",
        "[bold]Exit codes[/bold]  0 the verdict is good · 1 it is not, or the stack did not start · 2 a "
        "setting is wrong · 3 the broker cannot be reached · 4 a demo is already running · 130 interrupted. "
        "More: docs/scenario.md",
    )
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP, epilog=_EPILOG)(demo)


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop everything at the end.")] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", dir_okay=False, help="Write the outcome as JSON."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", help="Play another day of the same kind.")
    ] = 2026,
    speed: Annotated[
        float,
        typer.Option(
            "--speed", min=0, metavar="N", help="How many times faster than real time; 0: no waiting."
        ),
    ] = 60,
    minutes: Annotated[
        int, typer.Option("--minutes", min=1, max=120, metavar="N", help="Play the first N minutes only.")
    ] = 120,
) -> None:
    from fanpulse.devstack.preflight import require_usable
    from fanpulse.devstack.stack import AlreadyUpError, StackError
    from fanpulse.simulate.demo import Demo, Options, clear_user_environment, log_to_file
    from fanpulse.simulate.demo_settings import demo_settings
    from fanpulse.simulate.fresh import BusyError
    from fanpulse.simulate.player import PlayError

    settings = load_settings()
    require_usable(demo_settings(settings))
    clear_user_environment()
    log_to_file(settings)
    if report is not None and not report.absolute().parent.is_dir():
        raise typer.BadParameter(f"the folder of {report} does not exist", param_hint="--report")
    demo = Demo(settings, Options(once, report, seed, speed, minutes), PrintableConsole(highlight=False))
    try:
        good = asyncio.run(_until_signal(demo))
    except (BusyError, AlreadyUpError) as error:
        _fail(error, Exit.ALREADY_UP)
    except (StackError, PlayError) as error:
        _fail(error, Exit.FAILED)
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None
    if not good:
        raise typer.Exit(Exit.FAILED)


async def _until_signal(demo: Demo) -> bool:
    """Run the demo until it ends or SIGTERM arrives. On SIGINT, asyncio itself cancels it."""
    task = asyncio.current_task()
    assert task is not None
    terminated = False

    def on_terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_terminate)
    try:
        return await demo.run()
    except asyncio.CancelledError:
        if terminated:
            raise typer.Exit(128 + signal.SIGTERM) from None
        raise


def _fail(error: Exception, code: int) -> NoReturn:
    stderr.print(f"[bold red]fanpulse:[/bold red] {escape(str(error))}", soft_wrap=True)
    raise typer.Exit(code) from error
