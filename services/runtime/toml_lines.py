"""Where something stands in a TOML file, for messages. The parser gives places by name, not by line."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*((?:\"[^\"]*\"|'[^']*'|[^\s=#\"'])(?:[^=#]*?))\s*=")

_SYNTAX = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)")

Place = tuple[str | int, ...]


def syntax_error(source: object, error: ValueError) -> str:
    """A line for what ``tomllib`` cannot parse: file, line, and what it expected."""
    reason = " ".join(str(error).split())
    found = _SYNTAX.fullmatch(reason)
    if found is None:
        return f"{source} is not TOML: {reason}"
    if found[2] is None:
        return f"{source} is not TOML: {found[1]}, and the file ends"
    return f"{source} line {found[2]} is not TOML: {found[1]}"


def line_of(text: str, place: Sequence[str | int]) -> int | None:
    """The line, from 1, of the deepest part of a place that is written in the file; None if no part is.

    A place is a path of keys and indexes, as in ``("milestone", 2, "match", "hashtags")``.
    """
    lines = _places(text)
    wanted = tuple(place)
    while wanted:
        if wanted in lines:
            return lines[wanted]
        wanted = wanted[:-1]
    return None


def _places(text: str) -> dict[Place, int]:
    """The line at which each table and key begins. A key within a text of several lines may be among them."""
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _table(_parts(header[2]), counts, array=header[1] == "[[")
            found.setdefault(table, number)
            if table and isinstance(table[-1], int):
                found.setdefault(table[:-1], number)
        elif key := _KEY.match(line):
            parts = _parts(key[1])
            for end in range(1, len(parts) + 1):
                found.setdefault((*table, *parts[:end]), number)
            _inline(line[key.end() :], (*table, *parts), number, found)
    return found


def _table(parts: list[str], counts: dict[Place, int], *, array: bool) -> Place:
    """The place of a header: within the newest table of each array on its way."""
    place: Place = ()
    for index, part in enumerate(parts):
        place = (*place, part)
        if array and index == len(parts) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def _inline(value: str, place: Place, number: int, found: dict[Place, int]) -> None:
    if value.lstrip().startswith("{"):
        for name in re.findall(r"[{,]\s*([\w-]+)\s*=", value):
            found.setdefault((*place, name), number)


def _parts(key: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", key)]
