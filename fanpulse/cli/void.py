"""`fanpulse void`: takes events back."""

from __future__ import annotations

import asyncio
import getpass
import logging
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from fanpulse.cli import context
from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.context import Exit, UnavailableError, stderr
from fanpulse.voids.search import FoundEvent
from fanpulse.voids.voiding import FollowedTotals, Plan, plan, until_counted, write
from schemas.events import POST_ACTION
from schemas.totals import TotalsView
from services.runtime.settings import Settings
from services.runtime.topic_scan import open_reader

_HELP = (
    "Take events back: they count as if they had never been sent.\n\n"
    "Totals, rolling counts and the minutes of broadcasts that are still open are those without the events. "
    "The log keeps both, the event and its void, with the reason and who said so; `fanpulse audit` lists "
    "them. The id of a voided event stays used: what replaces the event needs an id of its own. You can "
    "safely repeat the command: an event is voided once.\n\n"
    "Exit codes: 0 voided, also if they were before · 1 an id is unknown or cannot be voided, or you said no "
    "· 2 wrong usage · 3 no broker, or the voids are not counted yet"
)
_EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "[cyan]fanpulse void like-1804418820 --reason 'quantity typed twice' --dry-run[/cyan]",
        "[cyan]fanpulse void --ids-from slips.txt --reason 'loaded the test file' --yes[/cyan]",
    )
)
#: The most events and figures that are shown.
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("void", help=_HELP, epilog=_EPILOG, no_args_is_help=True)(void)


def void(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[EVENT_ID...]", help="Ids of events.", show_default=False)
    ] = None,
    ids_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A file with an id a line; - is standard input.", show_default=False
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for people; it is kept in the log.")] = "",
    by: Annotated[str, typer.Option(help="Who, for people (default: your login).", show_default=False)] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be voided; write nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until the voids are counted.")] = 60.0,
    namespace: context.Namespace = None,
) -> None:
    """Take events back."""
    wanted = list(dict.fromkeys([*(ids or ()), *_ids_of(ids_from)]))
    if not wanted:
        raise _failure("name the events: by EVENT_ID, or with --ids-from FILE", Exit.USAGE)
    if not reason.strip() and not dry_run:
        raise _failure("--reason is missing; say why, it is kept in the log", Exit.USAGE)
    if not (yes or dry_run or sys.stdin.isatty()):
        raise _failure("there is no terminal to ask on; add --yes, or --dry-run to see first", Exit.USAGE)
    settings = context.settings_of_a_stream(namespace)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the raised error says the same
    raise typer.Exit(
        asyncio.run(_run(settings, wanted, reason.strip(), by or getpass.getuser(), dry_run, yes, wait))
    )


async def _run(
    settings: Settings, ids: list[str], reason: str, by: str, dry_run: bool, yes: bool, wait: float
) -> Exit:
    async with open_reader(settings) as reader:
        totals = FollowedTotals(settings, reader)
        found = await plan(settings, reader, await totals.refresh(), ids)
        _show(found)
        bad = Exit.FAILED if found.unknown or found.not_voidable else Exit.OK
        if not found.events:
            return bad
        before = _figures(totals.view, found.events)
        if dry_run:
            _line("nothing is written: this was a dry run")
            return bad
        if not yes and not typer.confirm(f"Void {_events(len(found.events))}?"):
            return Exit.FAILED
        ends = await write(settings, found.events, reason, by, time.time_ns() // 1_000_000)
        if not await until_counted(totals, ends, wait):
            raise UnavailableError(
                f"{_events(len(found.events))} voided in the log, but after {wait:.0f} s the aggregator has "
                "not counted that; it will when it runs"
            )
        _line(f"{_events(len(found.events))} voided")
        after = _figures(totals.view, found.events)
        for name in list(before)[:_SHOWN]:
            _line(f"  {name}: {before[name]:,} -> {after[name]:,}")
        if len(before) > _SHOWN:
            _line(f"  and {len(before) - _SHOWN:,} more figures; see `fanpulse totals`")
        return bad


def _figures(view: TotalsView, events: Iterable[FoundEvent]) -> dict[str, int]:
    """The gross totals of the accounts and actions of these events."""
    found = {}
    for event in events:
        fields = event.fields
        action = fields.get("action", POST_ACTION)
        name = f"{fields['platform']} {fields['account']} {action}"
        found[name] = view.actions(("account", fields["platform"], fields["account"])).get(action, 0)
    return found


def _show(found: Plan) -> None:
    for event, before in found.voided:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before.voided_at / 1000))
        _line(f"already voided: {event.event_id}, by {before.by} at {when}: {before.reason}")
    for event in found.not_voidable:
        stderr.print(
            f"{event.event_id} is a {event.kind}, which cannot be voided; send the right one",
            markup=False,
            soft_wrap=True,
        )
    for name in found.unknown[:_SHOWN]:
        stderr.print(
            f"{name} is not in the log; check the id and the namespace", markup=False, soft_wrap=True
        )
    if len(found.unknown) > _SHOWN:
        stderr.print(f"and {len(found.unknown) - _SHOWN:,} more ids that are not in the log", soft_wrap=True)
    if found.events:
        _line(f"{_events(len(found.events))} to void:")
    for event in found.events[:_SHOWN]:
        _line(f"  {_described(event)}")
    if len(found.events) > _SHOWN:
        _line(f"  and {len(found.events) - _SHOWN:,} more")


def _described(event: FoundEvent) -> str:
    fields, (partition, offset, index) = event.fields, event.address
    post = f", post {fields['post_id']}" if fields.get("post_id") else ""
    what = f"{fields.get('quantity', 1):,} {fields.get('action', POST_ACTION)}"
    where = f"partition {partition}, offset {offset:,}, index {index}"
    return f"{event.event_id}: {what} of {fields['platform']} {fields['account']}{post} ({where})"


def _events(count: int) -> str:
    return f"{count:,} event{'' if count == 1 else 's'}"


def _ids_of(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _failure(
            f"--ids-from {file}: {getattr(error, 'strerror', None) or error}", Exit.USAGE
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _line(text: str) -> None:
    PrintableConsole(highlight=False, markup=False, soft_wrap=True).print(text)


def _failure(reason: str, code: Exit) -> typer.Exit:
    stderr.print(f"fanpulse void: {reason}", markup=False, soft_wrap=True)
    return typer.Exit(code)
