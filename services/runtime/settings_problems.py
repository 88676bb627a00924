"""What is wrong with the settings, in one line: which setting, where it was set, why, and what is allowed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from schemas.problems import meant, words
from services.runtime.redaction import is_secret_name
from services.runtime.toml_lines import line_of, syntax_error

_SHOWN_CHARACTERS = 80
_NAMES = "see docs/settings.md for the names"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the settings come from: the file (its text is empty if there is none) and the variables by name;
    ``variable`` gives the name of a variable for the place of a setting."""

    file: Path
    text: str
    variables: Mapping[str, str]

    def where(self, place: tuple[int | str, ...], variable: str) -> str:
        """A setting as the user wrote it: the variable, or the key with file and line."""
        if variable in self.variables:
            return variable
        name = ".".join(map(str, place))
        line = line_of(self.text, place)
        return name if line is None else f"{name} ({self.file} line {line})"


def read_source(environment: Mapping[str, str], prefix: str, naming: str, default: str) -> Source | str:
    """The variables with this prefix, and the file that the variable ``naming`` names; a line if the file
    cannot be used. Without the variable it is ``default``, if there is one."""
    variables = {name: value for name, value in environment.items() if name.startswith(prefix)}
    named = variables.get(naming)
    file = Path(named or default)
    try:
        if named and not file.is_file():
            return f"{naming} names {named}, which is not a file; correct the path or unset it"
        data = file.read_bytes() if file.is_file() else b""
    except OSError as error:
        return f"{file} cannot be read ({error.strerror or error}); give yourself the right, or set {naming}"
    return _not_toml(file, data) or Source(file, data.decode(), variables)


def _not_toml(file: Path, data: bytes) -> str | None:
    try:
        tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        return f"{file} is not UTF-8 (byte {error.start})"
    except tomllib.TOMLDecodeError as error:
        return syntax_error(file, error)
    except RecursionError:
        return f"{file} is nested too deep"
    return None


def unknown_variable(name: str, known: set[str]) -> str:
    """The line for a variable that is no setting."""
    return f"{name} is not a setting{meant(name, known)}; {_NAMES}, or unset it"


def not_json(variables: Mapping[str, str], fields: Mapping[str, object]) -> str | None:
    """The line for the first variable of a list or a table that is not JSON; None if all are.

    ``fields`` has the type of each variable's setting.
    """
    for name, annotation in fields.items():
        wanted = _json_type(annotation)
        if wanted is None or name not in variables:
            continue
        example = '["one", "two"]' if wanted is list else '{"name": ["one", "two"]}'
        try:
            fits = isinstance(json.loads(variables[name]), wanted)
        except (ValueError, RecursionError):
            fits = False
        if not fits:
            return f"{name} must be a {'list' if wanted is list else 'table'} as JSON, such as {example}"
    return None


def first_problem(
    error: ValidationError, settings: type[BaseModel], source: Source, variable: Mapping[tuple[str, ...], str]
) -> str:
    """The line for the first of the problems. ``variable`` has the variable of each setting by its place."""
    problem = error.errors(include_url=False)[0]
    place = problem["loc"]
    names = tuple(map(str, place))
    setting = next((names[:length] for length in (2, 1) if names[:length] in variable), names[:1])
    where = source.where(place, variable.get(setting, ""))
    if problem["type"] == "extra_forbidden":  # the value may be a secret under a misspelt key
        return f"{where} is not a setting{meant(place[-1], _beside(place, settings))}; {_NAMES}"
    is_setting = setting in variable  # and no section, in which anything may have been written
    may_be_secret = not is_setting or any(map(is_secret_name, setting)) or isinstance(problem["input"], dict)
    given = "" if may_be_secret else f" (it is {_shown(problem['input'])})"
    return f"{where}{given}: {words(dict(problem))}"


def null_character(settings: BaseModel) -> str | None:
    """The line for the first setting with a null character, which no path, name or header can have."""
    for place, text in _texts(settings, ()):
        if "\0" in text:
            return f"{'.'.join(place)} has a null character; remove it"
    return None


def _texts(value: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _texts(getattr(value, name), (*place, name))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield place, str(name)
            yield from _texts(each, place)
    elif isinstance(value, tuple):
        for each in value:
            yield from _texts(each, place)
    elif isinstance(value, SecretStr):
        yield place, value.get_secret_value()
    elif isinstance(value, str | Path):
        yield place, str(value)


def _beside(place: tuple[int | str, ...], settings: type[BaseModel]) -> list[str]:
    """The settings of the same section."""
    section = settings.model_fields.get(str(place[0])) if len(place) > 1 else None
    annotation = settings if section is None else section.annotation
    return list(getattr(annotation, "model_fields", {}))


def _json_type(annotation: object) -> type | None:
    for each in (annotation, *get_args(annotation)):
        if get_origin(each) is tuple:
            return list
        if get_origin(each) is dict:
            return dict
    return None


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return "nested too deep"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
