"""`fanpulse rules`: is a rule file right, and what will it tell?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanpulse.cli import context
from fanpulse.cli.context import Exit, UsageError
from schemas.hashtags import AliasTable
from services.alerts.deciding.rule_file import RulesError, parse_rules
from services.alerts.deciding.rule_words import milestone_words, spike_words
from services.alerts.rules_on_disk import RuleFileError, read_rules
from services.runtime.settings import load_settings

_HELP = "Check a rule file before the alerts service reads it, and say in words what each rule will tell."
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse rules check[/cyan]              the rules of the settings",
        "[cyan]fanpulse rules check rules.toml[/cyan]",
        "[bold]Exit codes[/bold]  0 the rules can be used · 1 there are mistakes, one a line · 2 the file "
        "cannot be read, or wrong usage",
    )
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command()(check)
    group.callback()(lambda: None)
    app.add_typer(group, name="rules", help=_HELP, epilog=_EPILOG)


def check(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="A rule file; default: alerts.rules of the settings.", show_default=False
        ),
    ] = None,
) -> None:
    """Name every mistake of a rule file with its line; if there is none, say what each rule will tell.

    Example: [bold]fanpulse rules check rules.toml[/bold]
    """
    settings = load_settings()
    try:
        text, source = read_rules(file or settings.alerts.rules)
        rules = parse_rules(text, source)
    except RuleFileError as error:
        raise UsageError(str(error)) from None
    except RulesError as error:
        for mistake in error.mistakes:
            context.echo(mistake)
        raise typer.Exit(Exit.FAILED) from None
    aliases = AliasTable(settings.hashtag_aliases)
    for milestone in rules.milestone:
        context.echo(f"milestone {milestone.name} {milestone_words(milestone, aliases)}")
    for spike in rules.spike:
        context.echo(f"spike {spike.name} {spike_words(spike, aliases)}")
    count = len(rules.milestone) + len(rules.spike)
    context.echo(f"{source}: {count} rule{'' if count == 1 else 's'}, no mistakes")
