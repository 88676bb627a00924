"""`fanpulse serve`: one service in the foreground, as a container or systemd runs it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from fanpulse.cli import context
from fanpulse.cli.output import leave_broken_pipes
from services.runtime import logging
from services.runtime.private import close_state
from services.runtime.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    for command in (ingest, aggregate, alerts):
        group.command()(command)
    app.add_typer(group, name="serve", help=_HELP, epilog=_EPILOG, rich_help_panel="Services")


_HELP = (
    "Run one service in the foreground, as a container or systemd does.\n\n"
    "It needs a broker: set FANPULSE_KAFKA_BOOTSTRAP, or start a stack. SIGTERM and Ctrl-C end it in order. "
    "`fanpulse up` runs all services of this machine."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]FANPULSE_KAFKA_BOOTSTRAP=kafka-1:9092 fanpulse serve ingest[/cyan]",
        "[cyan]FANPULSE_KAFKA_BOOTSTRAP=kafka-1:9092 fanpulse serve aggregate --workers 2[/cyan]",
        "[cyan]FANPULSE_KAFKA_BOOTSTRAP=kafka-1:9092 fanpulse serve alerts[/cyan]",
    )
)


def _settings(namespace: str | None) -> Settings:
    leave_broken_pipes()
    settings = context.settings(namespace)
    close_state(settings.state_dir)
    logging.configure(settings.log_level, settings.log_format)
    return settings


def ingest(namespace: context.Namespace = None) -> None:
    """Accept events over HTTP and write them to Kafka, until SIGTERM or Ctrl-C.

    Example: [bold]FANPULSE_KAFKA_BOOTSTRAP=127.0.0.1:9092 fanpulse serve ingest[/bold]
    """
    from services.ingest import service

    service.main(_settings(namespace))


def aggregate(
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Number of processes that share the partitions.")
    ] = 1,
    targets: Annotated[
        Path | None,
        typer.Option(
            "--targets",
            dir_okay=False,
            help="Write the addresses of the workers to this file, for Prometheus' file_sd_configs.",
        ),
    ] = None,
    namespace: context.Namespace = None,
) -> None:
    """Count events and keep the totals, until SIGTERM or Ctrl-C.

    Several workers may run at once, here and on other machines: they share the partitions. With --workers, a
    supervisor restarts a worker that ends; their metrics are on ports from aggregate.metrics_port on (0: free
    ones).

    Example: [bold]FANPULSE_KAFKA_BOOTSTRAP=127.0.0.1:9092 fanpulse serve aggregate --workers 2[/bold]
    """
    settings = _settings(namespace)
    if workers == 1 and targets is None:
        from services.aggregate import service

        service.run(settings)
    else:
        from services.supervise.workers import run

        asyncio.run(run(settings, workers, targets))


def alerts(namespace: context.Namespace = None) -> None:
    """Decide and deliver milestones and spikes, until SIGTERM or Ctrl-C.

    Example: [bold]FANPULSE_KAFKA_BOOTSTRAP=127.0.0.1:9092 fanpulse serve alerts[/bold]
    """
    from services.alerts import service

    asyncio.run(service.run(_settings(namespace)))
