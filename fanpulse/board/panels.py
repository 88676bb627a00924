"""The sections of the board. Each is a list of lines of a given width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rich.text import Text

from fanpulse.board import wording
from fanpulse.board.glyphs import bar, columns, round_up, sparkline
from fanpulse.board.model import BroadcastPanel, Row, Snapshot, shares
from fanpulse.board.rolling import MINUTE_MS
from fanpulse.board.text import (
    CONTEXT,
    DIM,
    MILESTONE,
    SPIKE,
    STREAM,
    STRONG,
    fit,
    heading,
    join,
    right,
    spread,
)

_PHASES = {"scheduled": "SCHEDULED", "preheat": "PREHEAT", "started": "LIVE", "ended": "ENDED"}
_PHASE_STYLES = {"started": "bold white on blue", "preheat": "bold cyan", "ended": DIM, "scheduled": DIM}
_NONE = join((" none so far", DIM))
_AXIS = 7  # cells for a chart's scale
_LABEL_MINUTES = 15
#: Width of a chart of the last hour.
HOUR_WIDTH = _AXIS + 61


def broadcast(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    """The first broadcast: its phase, viewers and rate, and a chart of its interactions per minute."""
    if not snapshot.broadcasts:
        return [heading("BROADCAST", width), fit(_NONE, width)]
    panel, *others = snapshot.broadcasts
    note = f"{panel.interactions:,} interactions" + (f", {len(others)} more broadcasts" if others else "")
    lines = [heading("BROADCAST", width, note), _broadcast_line(panel, snapshot.stream_time_ms, width)]
    if height - len(lines) >= 3:
        style = partial(_column_style, panel)
        lines += chart(panel.minutes, panel.last_start_ms, width, height - len(lines), style)
    return lines


def _broadcast_line(panel: BroadcastPanel, stream_time_ms: int, width: int) -> Text:
    since = wording.elapsed(stream_time_ms - panel.since_ms)
    phase = (f" {_PHASES[panel.phase]} {since} ", _PHASE_STYLES[panel.phase])
    figures = Text("")
    if panel.viewers is not None:
        figures.append(f"{panel.viewers:,}", STRONG).append(" viewers  ", DIM)
    # The last complete minute: the newest has only begun.
    figures.append(f"{panel.minutes[-2]:,}", STREAM).append("/min ", DIM)
    return spread(join(" ", phase, "  ", (panel.title, STRONG)), figures, width)


def activity(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    """A chart of the activity of all accounts, per minute of the last hour."""
    last_ms = snapshot.stream_time_ms - snapshot.stream_time_ms % MINUTE_MS
    note = f"{snapshot.all_accounts.per_minute:,}/min"
    lines = [heading("ALL ACCOUNTS, PER MINUTE", width, note)]
    return lines + chart(snapshot.all_accounts.minutes, last_ms, width, height - 1, lambda start_ms: STREAM)


def chart(
    values: Sequence[int], last_ms: int, width: int, height: int, style: Callable[[int], str]
) -> list[Text]:
    """A column per minute; the minute from ``last_ms`` is at the right. ``style`` takes a minute's start."""
    values = values[-max(1, width - _AXIS - 1) :]
    starts = [last_ms - back * MINUTE_MS for back in range(len(values) - 1, -1, -1)]
    most = round_up(max(10, *values))
    styles = [style(start) for start in starts]
    lines = []
    for row, cells in enumerate(columns(values, height - 1, most)):
        scale = wording.compact(most) if row == 0 else "0" if row == height - 2 else ""
        line = join((f"{scale:>{_AXIS - 1}} ", DIM))
        for cell, column_style in zip(cells, styles, strict=True):
            line.append(cell, column_style)
        lines.append(fit(line, width))
    return [*lines, _time_axis(starts, width)]


def _column_style(panel: BroadcastPanel, start_ms: int) -> str:
    """Spikes stand out, and the live phase stands out from the minutes around it."""
    if start_ms in panel.spikes:
        return SPIKE
    live = panel.started_ms is not None and start_ms >= panel.started_ms
    ended = panel.phase == "ended" and start_ms >= panel.since_ms
    return STREAM if live and not ended else CONTEXT


def _time_axis(starts: list[int], width: int) -> Text:
    cells = [" "] * (_AXIS + len(starts) + 1)
    for column, start_ms in enumerate(starts):
        if start_ms % (_LABEL_MINUTES * MINUTE_MS) == 0:
            label = "╵" + wording.minute(start_ms)
            at = _AXIS + column
            if at + len(label) <= len(cells):
                cells[at : at + len(label)] = label
    return fit(join(("".join(cells), DIM)), width)


#: Columns of the accounts, the most important first: title, width, actions to add up.
_COLUMNS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("followers", 11, ()),
    ("comments", 10, ("comment",)),
    ("reposts", 9, ("repost", "quote", "share")),
    ("likes", 9, ("like",)),
    ("reads", 8, ("read",)),
    ("posts", 7, ("post",)),
)
_ORDER = ("followers", "posts", "reads", "likes", "reposts", "comments")
_TOTAL, _RATE, _SPARK = 10, 8, 14


def accounts(snapshot: Snapshot, width: int) -> list[Text]:
    """A line per account, with as many columns as fit, and one for all accounts."""
    names = [f"{row.platform:<10}{row.name}" for row in snapshot.accounts]
    name_width = 2 + max(18, *(Text(name).cell_len for name in names), 0)
    spare = width - name_width - _TOTAL - _RATE - _SPARK - 3
    chosen = []
    for column in _COLUMNS:
        if spare >= column[1]:
            spare -= column[1]
            chosen.append(column)
    chosen.sort(key=lambda column: _ORDER.index(column[0]))
    spark = _SPARK + min(spare, 60 - _SPARK)
    more = snapshot.accounts_seen - len(snapshot.accounts)
    name = f" ACCOUNTS (+{more:,}) " if more > 0 else " ACCOUNTS "
    head = join((name, STRONG), ("─" * max(0, name_width - len(name)), DIM))
    titles = [(title, size) for title, size, _ in chosen] + [("activity", _TOTAL), ("/min", _RATE)]
    for title, size in titles:
        head.append(title.rjust(size), DIM)
    head.append(f"  last {spark} min", DIM)
    lines = [head]
    for label, row in zip(names, snapshot.accounts, strict=True):
        lines.append(_account(join(" ", label), row, chosen, name_width, spark))
    if len(snapshot.accounts) > 1:
        lines.append(_account(join((" all", DIM)), snapshot.all_accounts, chosen, name_width, spark))
    return [fit(line, width) for line in lines]


def _account(
    label: Text, row: Row, chosen: list[tuple[str, int, tuple[str, ...]]], name_width: int, spark: int
) -> Text:
    parts = [fit(label, name_width)]
    for title, size, actions in chosen:
        value: int | None = sum(row.actions.get(action, 0) for action in actions)
        if title == "followers":
            value = row.followers
        text = "-" if value is None else wording.compact(value) if title == "reads" else f"{value:,}"
        parts.append(right(text, size, DIM if text in ("-", "0") else ""))
    parts.append(right(f"{row.activity:,}", _TOTAL, STRONG))
    parts.append(right(f"{row.per_minute:,}", _RATE, STREAM if row.per_minute else DIM))
    return join(*parts, "  ", (sparkline(row.minutes[:-1], spark), STREAM))


def hashtags(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    """The top hashtags by activity: count, bar, and rate of the last minute."""
    rows = snapshot.hashtags[: height - 1]
    more = snapshot.hashtags_seen - len(rows)
    lines = [heading("HASHTAGS", width, f"+{more:,}" if more > 0 else "")]
    longest = max((Text(f" #{row.name} ").cell_len for row in rows), default=8)
    name_width = max(8, min(longest, width - 17))
    bar_width = width - name_width - 20
    for row, share in zip(rows, shares(rows), strict=True):
        parts = [fit(join(f" #{row.name} "), name_width), right(f"{row.activity:,}", 8, STRONG)]
        if bar_width >= 4:
            parts.append(join("  ", (bar(share, bar_width), CONTEXT)))
        rate = f"{wording.compact(row.per_minute)}/min"
        lines.append(join(*parts, right(rate, 9, STREAM if row.per_minute else DIM)))
    if not rows:
        lines.append(_NONE)
    return [fit(line, width) for line in lines]


def countries(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    """The top countries by activity."""
    rows = snapshot.countries[: height - 1]
    lines = [heading("COUNTRIES", width)]
    for row, share in zip(rows, shares(rows), strict=True):
        count = right(f"{row.activity:,}", 8, STRONG)
        lines.append(join(f" {row.name:<3}", count, "  ", (bar(share, max(0, width - 15)), CONTEXT)))
    return [fit(line, width) for line in (lines if rows else [*lines, _NONE])]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def alerts(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    """The newest milestones and spikes, the newest first."""
    note = f"{_count(snapshot.milestones, 'milestone')}, {_count(snapshot.spikes, 'spike')}"
    lines = [heading("ALERTS", width, note)]
    for alert in snapshot.alerts[: height - 1]:
        at = (f" {wording.minute(alert.at_ms)} ", DIM)
        if alert.kind == "spike":
            lines.append(join(at, (f"▲ {alert.text}", SPIKE)))
        else:
            lines.append(join(at, ("◆ ", MILESTONE), alert.text))
    if not snapshot.alerts:
        lines.append(_NONE)
    return [fit(line, width) for line in lines]
