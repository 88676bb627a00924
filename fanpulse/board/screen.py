"""The whole board in a given number of columns and lines. Pure: it depends only on its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.text import Text

from fanpulse.board import panels, wording
from fanpulse.board.model import Snapshot
from fanpulse.board.text import BAD, DIM, GOOD, STREAM, STRONG, WARN, fit, join, side_by_side, spread

_ROOMY = 90  # from this width on, less important figures are shown too
_WIDE = 132  # from this width on, hashtags and alerts are at the right of the rest
_FRESH_SECONDS, _STALE_SECONDS = 3.0, 10.0


@dataclass(frozen=True, slots=True)
class Health:
    """One service: ``state`` is up, starting or down."""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class DemoProgress:
    """How far a demo has come, and how ingest has answered so far."""

    share: float
    sent: int
    accepted: int
    rejected: int
    note: str = ""
    retry_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ViewContext:
    """What the board shows besides the snapshot."""

    title: str = ""
    health: Sequence[Health] = field(default=())
    demo_progress: DemoProgress | None = None
    hint: str = ""


def compose(snapshot: Snapshot, context: ViewContext, width: int, height: int) -> list[Text]:
    """Exactly ``height`` lines of ``width`` cells."""
    top = [_header(snapshot, context, width)]
    if context.demo_progress is not None:
        top.append(_progress(context.demo_progress, width))
    room = height - len(top) - 1
    body = _wide(snapshot, width, room) if width >= _WIDE else _narrow(snapshot, width, room)
    body = body[: max(0, room)] + [Text("")] * max(0, room - len(body))
    return [fit(line, width) for line in [*top, *body, _footer(snapshot, context, width)]][-max(1, height) :]


def _wide(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    right_width = max(52, width * 36 // 100)
    left_width = width - right_width - 2
    rows = panels.accounts(snapshot, left_width)
    rest = height - len(rows) - 3
    hour = max(0, rest * 2 // 5) if rest >= 18 else 0
    chart = panels.broadcast(snapshot, left_width, max(2, rest - hour + 1))
    left = [Text(""), *chart, Text(""), *rows]
    if hour:
        hour_width = min(left_width - 24, panels.HOUR_WIDTH)
        chart = panels.activity(snapshot, hour_width, hour - 1)
        where = panels.countries(snapshot, left_width - hour_width - 2, hour - 1)
        left += [Text(""), *side_by_side(chart, where, hour_width, 2, left_width - hour_width - 2)]
    tags = panels.hashtags(snapshot, right_width, 1 + max(1, min(len(snapshot.hashtags), height // 3)))
    news = panels.alerts(snapshot, right_width, height - len(tags) - 2)
    return side_by_side(left, [Text(""), *tags, Text(""), *news], left_width, 2, right_width)


def _narrow(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    rows = panels.accounts(snapshot, width)
    rest = height - len(rows)
    airy = rest >= 18
    rest -= 2 * airy
    below = max(4, min(10, rest // 2))
    chart = panels.broadcast(snapshot, width, max(2, rest - below))
    left_width = max(30, width * 44 // 100)
    right_width = width - left_width - 1
    tags = panels.hashtags(snapshot, left_width, below)
    news = panels.alerts(snapshot, right_width, below)
    gap = [Text("")] * airy
    return [*chart, *gap, *rows, *gap, *side_by_side(tags, news, left_width, 1, right_width)]


def _header(snapshot: Snapshot, context: ViewContext, width: int) -> Text:
    left = join(" ", (" fanpulse ", "bold white on blue"), "  ")
    if context.title and width >= _ROOMY:
        left.append(f"{context.title}  ", DIM)
    if snapshot.stream_time_ms:
        left.append(f"{wording.day(snapshot.stream_time_ms)} ", DIM)
        left.append(wording.clock(snapshot.stream_time_ms), STRONG)
        left.append(" UTC", DIM)
    else:
        left.append("waiting for the first events", WARN)
    counted = (f"{snapshot.counted:,}", STRONG)
    rate = (f"{snapshot.per_second:,.0f}/s", STREAM)
    return spread(left, join(counted, (" events ", DIM), rate, "  ", _age(snapshot.age_seconds), " "), width)


def _age(seconds: float | None) -> tuple[str, str]:
    if seconds is None:
        return "no data", WARN
    words = f"data {wording.age(seconds)} old"
    if seconds < _FRESH_SECONDS:
        return words, GOOD
    return (words, WARN) if seconds < _STALE_SECONDS else (f"STALE: {words}", BAD)


def _progress(demo: DemoProgress, width: int) -> Text:
    figures = f"sent {demo.sent:,}  accepted {demo.accepted:,}  rejected {demo.rejected:,} "
    retry_text = f"retrying: {demo.retry_reason}  " if demo.retry_reason else ""
    label = f" {demo.note} {demo.share:4.0%} "
    size = max(0, width - len(figures) - len(retry_text) - len(label) - 2)
    done = round(size * demo.share)
    line = join((label, DIM), ("━" * done, STREAM), ("━" * (size - done), DIM), "  ")
    return fit(join(line, (retry_text, WARN), (figures, DIM)), width)


_SYMBOLS = {"up": ("●", GOOD), "starting": ("◌", WARN), "down": ("✗", BAD)}


def _footer(snapshot: Snapshot, context: ViewContext, width: int) -> Text:
    left = join(" ")
    for each in context.health:
        symbol, style = _SYMBOLS.get(each.state, ("?", WARN))
        words = each.name if each.state == "up" else f"{each.name} {each.state}"
        left.append_text(join((f"{symbol} ", style), (words, "" if each.state == "up" else style), "  "))
    notes = []
    if width >= _ROOMY:
        notes.append(f"{snapshot.duplicates:,} duplicates")
        notes += [f"{snapshot.late:,} late"] if snapshot.late else []
        notes += [f"{snapshot.rejected:,} unreadable"] if snapshot.rejected else []
    if context.hint:
        notes.append(context.hint)
    return spread(left, join(("  ".join(notes) + " ", DIM)), width)
