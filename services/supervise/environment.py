"""Settings as environment variables: how the supervisor hands its settings to a service."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import SecretStr

from services.runtime.settings import Section, Settings, variable_name


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables that make `load_settings` return the same settings.

    A key without a value gets no variable, so a settings file could still set it.
    """
    variables: dict[str, str] = {}
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if isinstance(value, Section):
            for inner in type(value).model_fields:
                _add(variables, variable_name(key, inner), getattr(value, inner))
        else:
            _add(variables, variable_name(None, key), value)
    return variables


def _add(variables: dict[str, str], name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, SecretStr):
        variables[name] = value.get_secret_value()
    elif isinstance(value, bool):
        variables[name] = "true" if value else "false"
    elif isinstance(value, str | Path | int | float):
        variables[name] = str(value)
    else:
        variables[name] = json.dumps(value, ensure_ascii=False)
