"""Reads a rule file: the rules, or every mistake in it with its line. Pure: text in, rules out."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from schemas.problems import meant, words
from services.alerts.deciding.rules import Match, MilestoneRule, Rules, SpikeRule
from services.runtime.toml_lines import line_of, syntax_error

_TABLES: dict[str, type[BaseModel]] = {"milestone": MilestoneRule, "spike": SpikeRule}


class RulesError(ValueError):
    """The rules cannot be used. The message is the first of ``mistakes``, each of which is one line: file and
    line, rule and key, what is wrong and what is allowed."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__(mistakes[0])
        self.mistakes = mistakes


def parse_rules(text: str, source: str) -> Rules:
    """The rules of a file; ``source`` names it in errors. Raises RulesError with all mistakes."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesError([syntax_error(source, error)]) from error
    except RecursionError:
        raise RulesError([f"{source} is nested too deep"]) from None
    try:
        rules = Rules.model_validate(tables)
    except ValidationError as error:
        raise RulesError(_mistakes(error, tables, text, source)) from error
    if not rules.milestone and not rules.spike:
        raise RulesError([f"{source} has no [[milestone]] and no [[spike]]"])
    if twice := list(_names_used_twice(rules, text, source)):
        raise RulesError(twice)
    return rules


def _names_used_twice(rules: Rules, text: str, source: str) -> Iterator[str]:
    seen: set[str] = set()
    for kind in ("milestone", "spike"):
        for index, rule in enumerate(getattr(rules, kind)):
            if rule.name in seen:
                where = _at(source, text, (kind, index, "name"))
                yield f"{where}: two rules have the name {rule.name!r}; give each its own"
            seen.add(rule.name)


def _mistakes(error: ValidationError, tables: Mapping[str, Any], text: str, source: str) -> list[str]:
    """Each mistake, by line: the rule by its name (or by its number if it has none), then the key."""
    found = []
    for problem in error.errors(include_url=False):
        place = problem["loc"]
        subject, key = _subject(place, tables), ".".join(map(str, place[2:]))
        given = f" (it is {problem['input']!r})" if key and not isinstance(problem["input"], dict) else ""
        said = [_at(source, text, place), subject, f"{key}{given}", _said(dict(problem))]
        found.append((line_of(text, place) or 0, ": ".join(part for part in said if part)))
    return [line for _, line in sorted(found, key=lambda each: each[0])]


def _said(problem: Mapping[str, Any]) -> str:
    if problem["type"] != "extra_forbidden":
        return words(problem)
    name, known = problem["loc"][-1], _known(problem["loc"])
    return f"unknown key{meant(name, known)}"


def _known(place: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed beside one."""
    if len(place) == 1:
        return list(_TABLES)
    model = Match if "match" in place[:-1] else _TABLES[str(place[0])]
    return [field.alias or name for name, field in model.model_fields.items()]


def _subject(place: tuple[int | str, ...], tables: Mapping[str, Any]) -> str:
    if len(place) < 2 or not isinstance(place[1], int):
        return str(place[0]) if place else ""
    listed = tables.get(str(place[0]))
    table = listed[place[1]] if isinstance(listed, list) else None
    name = table.get("name") if isinstance(table, dict) else None
    shown = repr(name) if isinstance(name, str) and name else f"number {place[1] + 1}"
    return f"{place[0]} {shown}"


def _at(source: str, text: str, place: tuple[int | str, ...]) -> str:
    line = line_of(text, place)
    return source if line is None else f"{source} line {line}"
