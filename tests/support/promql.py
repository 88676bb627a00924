"""Reads PromQL as far as tests need it: which series a query selects, and by which labels it groups."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*") | (?P<range>\[[^\]]*\]) | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<number>[0-9][0-9.a-z]*) | (?P<sign>=~|!~|!=|[^\s\w])""",
    re.VERBOSE,
)
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "NaN", "Inf"}


class Matcher(NamedTuple):
    """One condition on a label."""

    label: str
    sign: str  # "=", "!=", "=~" or "!~"
    value: str

    @property
    def values(self) -> list[str]:
        """The values that it names."""
        return self.value.split("|") if self.sign in ("=~", "!~") else [self.value]


class Selector(NamedTuple):
    """A metric with its matchers."""

    metric: str
    matchers: tuple[Matcher, ...]


class Parsed(NamedTuple):
    """What a query selects, and the labels that it names in `by`, `without`, `on` and the like."""

    selectors: list[Selector]
    labels: set[str]


def parse(expr: str) -> Parsed:
    """Read a query. Raises ValueError on what it does not understand, so nothing is passed over."""
    tokens = [(str(match.lastgroup), match[0]) for match in _TOKEN.finditer(expr)] + [("end", "")]
    found = Parsed([], set())
    at = 0
    while tokens[at][0] != "end":
        kind, text = tokens[at]
        following = tokens[at + 1][1]
        if kind == "name" and text in _GROUPING:
            close = next(number for number in range(at, len(tokens)) if tokens[number][1] == ")")
            found.labels.update(word for each, word in tokens[at + 1 : close] if each == "name")
            at = close + 1
        elif text == "{" or (kind == "name" and following == "{"):
            metric, start = ("", at) if text == "{" else (text, at + 1)
            at, matchers = _matchers(tokens, start)
            found.selectors.append(Selector(metric, matchers))
        else:
            if kind == "name" and text not in _WORDS and following != "(" and following not in _GROUPING:
                found.selectors.append(Selector(text, ()))
            at += 1
    return found


def _matchers(tokens: list[tuple[str, str]], start: int) -> tuple[int, tuple[Matcher, ...]]:
    """The matchers between braces, and where the query goes on."""
    matchers, at = [], start + 1
    while tokens[at][1] != "}":
        (kind, label), (_, sign), (quoted, value) = tokens[at : at + 3]
        if (kind, quoted) != ("name", "text"):
            raise ValueError(f"no matcher: {label}{sign}{value}")
        matchers.append(Matcher(label, sign, value[1:-1]))
        at += 4 if tokens[at + 3][1] == "," else 3
    return at + 1, tuple(matchers)
