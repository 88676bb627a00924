"""`fanpulse stream`: whether the topics are still those that the stream was begun with, and how to go on."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from fanpulse.cli import context
from fanpulse.cli.context import Exit
from schemas.topics import STREAM, TOPICS, TOTALS, qualified
from services.runtime.settings import Settings
from services.runtime.stream import (
    StreamError,
    found,
    least_retention_ms,
    read_identities,
    write_identities,
)
from services.runtime.stream_rules import SHORT_NAMES, changes, surplus, wrong_settings
from services.runtime.topic_states import TopicAdmin

_HELP = (
    "Show whether the topics are those that the stream was begun with, and mend what can be mended.\n\n"
    "Each topic has an id that the broker gives it. If a topic was deleted and created again, the services "
    "stop: what they have counted or decided would not fit what is in it."
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse stream show[/cyan]",
        "[cyan]fanpulse stream accept totals[/cyan]    after the totals were lost: count the log again",
        "[cyan]fanpulse stream mend[/cyan]             set the settings of topics that would lose records",
        "[bold]Exit codes[/bold]  0 all is as it was · 1 something is not · 2 wrong usage · 3 no broker",
    )
)


class Acceptable(StrEnum):
    """Topics that a stream can go on without."""

    TOTALS = "totals"
    ALERTS = "alerts"
    POSTS = "posts"


_FULL_NAMES = {short: name for name, short in SHORT_NAMES.items()}
_ACCEPTED = {
    "totals": "start the aggregator: it counts the whole log again",
    "alerts": "start the alerts service: milestones that were reached before are told once more",
    "posts": "start ingest, and send the posts again",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command()(show)
    group.command()(accept)
    group.command()(mend)
    app.add_typer(group, name="stream", help=_HELP, epilog=_EPILOG, rich_help_panel="Local stack")


def show(namespace: context.Namespace = None) -> None:
    """Show each topic of the stream, and what is wrong with it.

    Example: [bold]fanpulse stream show[/bold]
    """
    lines, problems = asyncio.run(_show(context.settings_of_a_stream(namespace)))
    for line in lines + problems:
        context.echo(line)
    raise typer.Exit(Exit.FAILED if problems else Exit.OK)


async def _show(settings: Settings) -> tuple[list[str], list[str]]:
    identities = await read_identities(settings)
    cluster = await TopicAdmin(settings).describe(
        [qualified(settings.namespace, topic.name) for topic in TOPICS]
    )
    lines = [f"cluster {cluster.cluster_id or 'unknown'}"]
    for topic in TOPICS:
        full = qualified(settings.namespace, topic.name)
        state = cluster.topics.get(full)
        recorded = identities.get(topic.name)
        now = (
            f"{state.partitions} partitions, id {state.topic_id or 'unknown'}" if state else "does not exist"
        )
        began = f"; the stream began with {recorded.partitions}" if recorded else ""
        lines.append(f"{full:<40} {now}{began}")
    problems = [each.line for each in changes(identities, cluster, settings.namespace)]
    problems += [
        f"{qualified(settings.namespace, name)} has partitions {added.start} to {added.stop - 1} that "
        "do not belong to the stream; nobody counts what is in them"
        for name, added in surplus(identities, cluster, settings.namespace).items()
    ]
    wrong = wrong_settings(
        TOPICS, cluster, settings.namespace, least_retention_ms=least_retention_ms(settings.aggregate)
    )
    return lines, problems + [each.line for each in wrong]


def accept(
    topic: Annotated[Acceptable, typer.Argument(help="Which topic was created again.", show_default=False)],
    namespace: context.Namespace = None,
) -> None:
    """Go on with a topic that was deleted and created again, although what was in it is lost.

    Example: [bold]fanpulse stream accept totals[/bold]
    """
    asyncio.run(_accept(context.settings_of_a_stream(namespace), _FULL_NAMES[topic.value]))
    context.echo(f"{topic.value}: accepted as it is now; {_ACCEPTED[topic.value]}")


async def _accept(settings: Settings, name: str) -> None:
    identities = await read_identities(settings)
    if name not in identities:
        raise StreamError(
            f"{qualified(settings.namespace, name)} is not on record in "
            f"{qualified(settings.namespace, STREAM.name)}, so there is nothing to accept; check "
            "FANPULSE_NAMESPACE"
        )
    admin = TopicAdmin(settings)
    full = qualified(settings.namespace, name)
    cluster = await admin.describe([full])
    if name == TOTALS.name:
        from services.aggregate.kafka.checkpoint_store import group_id

        await admin.delete_group(group_id(settings))
    if full not in cluster.topics:
        # The service that needs the topic creates it, and founds its identity.
        await write_identities(settings, {name: None})
    else:
        await write_identities(settings, {name: await found(admin, cluster, settings.namespace, name)})


def mend(namespace: context.Namespace = None) -> None:
    """Set the settings of topics with which the broker would remove what is still needed.

    Example: [bold]fanpulse stream mend[/bold]
    """
    for line in asyncio.run(_mend(context.settings_of_a_stream(namespace))) or ["nothing to mend"]:
        context.echo(line)


async def _mend(settings: Settings) -> list[str]:
    admin = TopicAdmin(settings)
    cluster = await admin.describe([qualified(settings.namespace, topic.name) for topic in TOPICS])
    wrong = wrong_settings(
        TOPICS, cluster, settings.namespace, least_retention_ms=least_retention_ms(settings.aggregate)
    )
    for each in wrong:
        await admin.configure(each.topic, {each.key: each.wanted})
    return [f"{each.topic}: {each.key} is {each.wanted}, and was {each.found}" for each in wrong]
