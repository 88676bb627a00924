"""Lines of an exact width in terminal cells; a Chinese character takes two cells."""

from __future__ import annotations

from itertools import zip_longest

from rich.text import Text

#: Colours have a meaning: red is broken data, yellow a spike or a warning, cyan the stream itself, green
#: means that all is well. The words say it too, for those who set NO_COLOR.
DIM, STRONG = "bright_black", "bold"
STREAM, CONTEXT, SPIKE, MILESTONE = "cyan", "blue", "bold yellow", "cyan"
GOOD, WARN, BAD = "green", "yellow", "bold red"
_BLANK = Text("")


def join(*parts: Text | str | tuple[str, str]) -> Text:
    """One text made of parts. A part is a text, or a text and its style."""
    return Text.assemble(*parts)


def fit(text: Text, width: int) -> Text:
    """The text in exactly ``width`` cells: cut with an ellipsis, or padded with blanks."""
    text = text.copy()
    text.no_wrap = True
    text.truncate(max(0, width), overflow="ellipsis", pad=True)
    return text


def right(text: str, width: int, style: str = "") -> Text:
    """The text, right-aligned in ``width`` cells."""
    styled = join((text, style))
    gap = width - styled.cell_len
    return join(" " * gap, styled) if gap >= 0 else fit(styled, width)


def spread(left: Text, end: Text, width: int) -> Text:
    """One text at each end of a line; the left one is cut if they do not fit."""
    room = max(0, width - end.cell_len - 1)
    return fit(join(fit(left, room), " ", end), width)


def heading(name: str, width: int, note: str = "") -> Text:
    """A section's name, a thin line, and a note at the end."""
    tail = f" {note} " if note else " "
    room = width - len(name) - 2 - Text(tail).cell_len
    return fit(join((f" {name} ", STRONG), ("─" * max(0, room), DIM), (tail, DIM)), width)


def side_by_side(
    lefts: list[Text], rights: list[Text], width_left: int, gap: int, width_right: int
) -> list[Text]:
    """Two columns of lines."""
    return [
        join(fit(left, width_left), " " * gap, fit(other, width_right))
        for left, other in zip_longest(lefts, rights, fillvalue=_BLANK)
    ]
