"""Commands that run one service in the foreground, as a container does."""

from __future__ import annotations

import asyncio

import typer

from fanpulse.cli import context
from services.runtime import logging
from services.runtime.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (ingest, aggregate, alerts):
        app.command(rich_help_panel="Services")(command)


def _settings() -> Settings:
    settings = context.settings()
    logging.configure(settings.log_level, settings.log_format)
    return settings


def ingest() -> None:
    """Take events in over HTTP and write them to Kafka, until SIGTERM or Ctrl-C.

    Example: [bold]FANPULSE_KAFKA_BOOTSTRAP=127.0.0.1:9092 fanpulse ingest[/bold]
    """
    from services.ingest import service

    service.main(_settings())


def aggregate() -> None:
    """Count events and keep the totals, until SIGTERM or Ctrl-C.

    Several may run at once: they share the partitions.

    Example: [bold]FANPULSE_KAFKA_BOOTSTRAP=127.0.0.1:9092 fanpulse aggregate[/bold]
    """
    from services.aggregate import service

    service.run(_settings())


def alerts() -> None:
    """Report milestones and spikes, until SIGTERM or Ctrl-C.

    Example: [bold]FANPULSE_KAFKA_BOOTSTRAP=127.0.0.1:9092 fanpulse alerts[/bold]
    """
    from services.alerts import service

    asyncio.run(service.run(_settings()))
