"""The board as plain lines, for an output that is not a terminal: a summary line, and a line per alert."""

from __future__ import annotations

from fanpulse.board import wording
from fanpulse.board.model import AlertLine, Snapshot
from fanpulse.board.screen import ViewContext

_PHASES = {"scheduled": "scheduled", "preheat": "in preheat", "started": "LIVE", "ended": "ended"}


def summary(snapshot: Snapshot, context: ViewContext) -> str:
    """One line: stream time, events counted, rates, the broadcast, and any problem."""
    if not snapshot.stream_time_ms:
        return "waiting for the first events"
    parts = [
        f"{wording.clock(snapshot.stream_time_ms)} UTC",
        f"{snapshot.counted:,} events counted ({snapshot.per_second:,.0f}/s)",
        f"{snapshot.all_accounts.per_minute:,} interactions/min",
    ]
    if snapshot.all_accounts.followers:
        parts.append(f"{snapshot.all_accounts.followers:,} followers")
    for panel in snapshot.broadcasts[:1]:
        viewers = f", {panel.viewers:,} viewers" if panel.viewers is not None else ""
        since = wording.elapsed(snapshot.stream_time_ms - panel.since_ms)
        parts.append(f"{panel.title} {_PHASES[panel.phase]} {since}{viewers}")
    if context.demo_progress is not None and context.demo_progress.retry_reason:
        parts.append(f"retrying: {context.demo_progress.retry_reason}")
    parts += [f"{each.name} {each.state}" for each in context.health if each.state != "up"]
    return "  ".join(parts)


def alert(line: AlertLine) -> str:
    """One alert as a line."""
    return f"{wording.clock(line.at_ms)} UTC  {'SPIKE' if line.kind == 'spike' else 'milestone'}  {line.text}"
