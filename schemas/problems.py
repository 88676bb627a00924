"""What is wrong with a value, in words of the one who wrote it: the one table for events, settings and rules.

Whatever finds a problem (pydantic, for models) has a type and a context for it; ``words`` says the same
without the words of a validator. The texts follow the name of a field: ``quantity: must be at least 1``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

#: What a text in a certain form looks like, by its pattern.
FORMS = {
    r"^[a-z0-9][a-z0-9-]{0,30}$|^$": "must be at most 31 lower-case letters, digits and dashes, and "
    "begin with a letter or digit",
    r"^[a-z0-9][a-z0-9-]{0,62}$": "must be at most 63 lower-case letters, digits and dashes, and begin with "
    "a letter or digit",
    r"^[a-z0-9][a-z0-9_.-]{0,39}$": "must be at most 40 lower-case letters, digits and `_`, `.`, `-`, and "
    "begin with a letter or digit",
    r"^1(-[2-9])*$": 'must be digits from 1 on, joined by dashes, such as "1-2-5"',
}
_TEXT, _WHOLE, _NUMBER = "must be text", "must be a whole number", "must be a number"
_YES_NO, _LIST, _TABLE = "must be true or false", "must be a list", "must be an object with fields"
_WORDS: dict[str, str | Callable[[Mapping[str, Any], object], str]] = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "string_type": _TEXT,
    "string_unicode": "is not UTF-8",
    "string_sub_type": _TEXT,
    "path_type": "must be a path, as text",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "has too many digits",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": _YES_NO,
    "bool_parsing": _YES_NO,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "iterable_type": _LIST,
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "greater_than_equal": lambda context, _: f"must be at least {_number(context['ge'])}",
    "greater_than": lambda context, _: f"must be more than {_number(context['gt'])}",
    "less_than_equal": lambda context, _: f"must be at most {_number(context['le'])}",
    "less_than": lambda context, _: f"must be less than {_number(context['lt'])}",
    "string_too_short": lambda context, _: _length("at least", context["min_length"], "character"),
    "string_too_long": lambda context, _: _length("at most", context["max_length"], "character"),
    "too_short": lambda context, _: _length("at least", context["min_length"], "entry", "entries"),
    "too_long": lambda context, _: _length("at most", context["max_length"], "entry", "entries"),
    "string_pattern_mismatch": lambda context, _: FORMS.get(context["pattern"], "is not in the right form"),
    "literal_error": lambda context, value: _one_of(context["expected"], value),
    "enum": lambda context, value: _one_of(context["expected"], value),
}
#: For a kind of problem without words of its own: rather nothing precise than the words of a library.
_UNNAMED = "cannot be used here"
#: Types of problems that carry a text of ours.
_OURS = ("value_error", "assertion_error")


def words(problem: Mapping[str, Any]) -> str:
    """The words for a problem as pydantic describes it: ``type``, ``ctx``, ``input`` and ``msg``.

    A problem that our own code has raised keeps its words.
    """
    context = problem.get("ctx") or {}
    if problem["type"] in _OURS:
        return str(context["error"]) if "error" in context else _UNNAMED
    if set(context) == {"detail"}:  # schemas.fields.reject
        return str(context["detail"])
    found = _WORDS.get(problem["type"], _UNNAMED)
    return found if isinstance(found, str) else found(context, problem.get("input"))


def meant(name: object, known: Iterable[str]) -> str:
    """``; did you mean X?`` if a known name is close to this one; otherwise nothing."""
    by_form = {each.lower(): each for each in known}
    close = get_close_matches(str(name).lower(), by_form, n=1, cutoff=0.7)
    return f"; did you mean {by_form[close[0]]}?" if close else ""


def one_of(known: Iterable[str], value: object) -> str:
    """``must be one of …``, with the one that was probably meant."""
    listed = list(known)
    allowed = listed[0] if len(listed) == 1 else f"one of {', '.join(listed)}"
    return f"must be {allowed}{meant(value, listed) if isinstance(value, str) else ''}"


def _one_of(expected: str, value: object) -> str:
    return one_of(re.findall(r"'([^']*)'", expected) or [expected], value)


def _length(bound: str, count: int, one: str, many: str | None = None) -> str:
    return f"must have {bound} {count:,} {one if count == 1 else many or f'{one}s'}"


def _number(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
