"""A mistake on the command line, in words of the one who typed it and not of the parser."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from schemas.problems import meant, one_of, words

_CHOICE = re.compile(r"'?(.*?)'? is not one of (.*)")
_NO_COMMAND = re.compile(r"No such command '(.*?)'\..*?(?:Did you mean '?(.*?)'?\?)?", re.DOTALL)
_EXTRA = re.compile(r"Got unexpected extra argument\(?s?\)? \((.*)\)")
_NO_VALUE = re.compile(r"Option '(.*)' requires an? \S+\.?(?: .*)?")
_MISSING = re.compile(r"Missing (?:option|argument|parameter) '(.*?)'.*", re.DOTALL)


def usage_problem(error: Exception) -> str:
    """What is wrong, for an error of the parser of the command line; without the end of a sentence."""
    name = type(error).__name__
    message = str(error.format_message()).strip()  # type: ignore[attr-defined]
    if name == "NoSuchOption":
        wrong = str(getattr(error, "option_name", ""))
        return f"there is no option {wrong}{meant(wrong, getattr(error, 'possibilities', None) or ())}"
    if name == "BadParameter":
        return _value(error)
    if found := _NO_COMMAND.fullmatch(message):
        return f"there is no command {found[1]}{f'; did you mean {found[2]}?' if found[2] else ''}"
    for pattern, text in (
        (_EXTRA, "{} is more than this command takes"),
        (_NO_VALUE, "{} needs a value"),
        (_MISSING, "{} is missing"),
    ):
        if found := pattern.fullmatch(message.rstrip(".")):
            return text.format(found[1])
    return message.rstrip(".")


def _value(error: Any) -> str:
    """The option or argument, what was given, and what is allowed."""
    name, given, said = _name(error), "", str(error.message)
    if isinstance(error.__cause__, ValidationError):
        problem = error.__cause__.errors(include_url=False)[0]
        given, said = f" (it is {problem['input']})", words(dict(problem))
    said = said.strip().rstrip(".")
    if choice := _CHOICE.fullmatch(said):
        said = one_of(re.findall(r"'([^']*)'", choice[2]), choice[1])
    return f"{name}{given}: {said}" if name else said


def _name(error: Any) -> str:
    hint = error.param_hint
    if hint is None and error.param is not None:
        hint = error.param.get_error_hint()
    listed = [hint] if isinstance(hint, str) else list(hint or ())
    return listed[0].partition(" / ")[0].strip("'\"") if listed else ""
