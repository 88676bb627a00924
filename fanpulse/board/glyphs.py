"""Small charts made of text: sparklines, bars and columns. One character is one value."""

from __future__ import annotations

from collections.abc import Sequence

EIGHTHS = " ▁▂▃▄▅▆▇█"
_LEFT_EIGHTHS = " ▏▎▍▌▋▊▉█"


def sparkline(values: Sequence[int], width: int) -> str:
    """The newest ``width`` values, scaled to the greatest of them. A value above 0 is always visible."""
    shown = list(values)[-width:] if width > 0 else []
    most = max(shown, default=0)
    glyphs = [EIGHTHS[_level(value, most, 8)] for value in shown]
    return "".join(glyphs).rjust(width)


def bar(share: float, width: int) -> str:
    """A horizontal bar that fills ``share`` (0 to 1) of the width, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_LEFT_EIGHTHS[part] if part else "")).ljust(width)


def columns(values: Sequence[int], height: int, most: int) -> list[str]:
    """Columns as ``height`` lines, the top line first. A column of full height is the value ``most``."""
    levels = [_level(value, most, 8 * height) for value in values]
    return [
        "".join(EIGHTHS[max(0, min(8, level - 8 * row))] for level in levels)
        for row in range(height - 1, -1, -1)
    ]


def _level(value: int, most: int, steps: int) -> int:
    if value <= 0 or most <= 0:
        return 0
    return max(1, min(steps, round(value / most * steps)))


def round_up(value: int) -> int:
    """The next of 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, ...: a readable top for a scale."""
    power = 1
    while True:
        for step in (10, 12, 15, 20, 25, 30, 40, 50, 60, 80):
            if step * power >= value:
                return step * power
        power *= 10
