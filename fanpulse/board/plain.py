"""The board as lines, for where the output is no terminal: a summary now and then, and each alert."""

from __future__ import annotations

from fanpulse.board import wording
from fanpulse.board.model import AlertLine, Snapshot
from fanpulse.board.screen import Surroundings

_PHASES = {"scheduled": "scheduled", "preheat": "in preheat", "started": "LIVE", "ended": "ended"}


def summary(snapshot: Snapshot, around: Surroundings) -> str:
    """One line: event time, what was counted, the pace, the broadcast, and what is not as it should be."""
    if not snapshot.present_ms:
        return "waiting for the first events"
    parts = [
        f"{wording.clock(snapshot.present_ms)} UTC",
        f"{snapshot.counted:,} events counted ({snapshot.per_second:,.0f}/s)",
        f"{snapshot.matrix.per_minute:,} interactions/min",
    ]
    if snapshot.matrix.followers:
        parts.append(f"{snapshot.matrix.followers:,} followers")
    for panel in snapshot.broadcasts[:1]:
        viewers = f", {panel.viewers:,} viewers" if panel.viewers is not None else ""
        since = wording.elapsed(snapshot.present_ms - panel.since_ms)
        parts.append(f"{panel.title} {_PHASES[panel.phase]} {since}{viewers}")
    if around.show is not None and around.show.trouble:
        parts.append(f"sending again: {around.show.trouble}")
    parts += [f"{each.name} {each.state}" for each in around.health if each.state != "up"]
    return "  ".join(parts)


def alert(line: AlertLine) -> str:
    """One alert."""
    return f"{wording.clock(line.at_ms)} UTC  {'SPIKE' if line.kind == 'spike' else 'milestone'}  {line.text}"
