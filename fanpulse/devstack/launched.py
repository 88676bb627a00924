"""What a stack was started with: for commands that use its figures, and to tell what has changed since."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr

from services.runtime.settings import Section, Settings, SettingsError

#: Settings of commands alone. Namespace and state folder find the stack, so they are its own.
_NOT_OF_THE_STACK = ("namespace", "state_dir", "api_key", "audit")
#: Parameters of scrypt: about 30 ms for each secret, so that nobody guesses one from its hash.
_SCRYPT = {"n": 2**13, "r": 8, "p": 1}
_SHOWN_CHARACTERS = 60

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Launched:
    """The settings of a stack by dotted name, as JSON takes them: secrets are salted hashes, and the rule
    file is an absolute path with the hash of its content."""

    values: Values
    salt: str
    rules: str | None
    hashtag_aliases: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, settings: Settings, workers: int, salt: str | None = None) -> Self:
        """What a stack of these settings is started with; ``salt`` makes it comparable with another."""
        salt = salt or secrets.token_hex(16)
        values = {name: _value(each, salt) for name, each in _named(settings)}
        rules = settings.alerts.rules.absolute() if settings.alerts.rules else None
        values |= {"--workers": workers, "the content of alerts.rules": _digest(rules)}
        return cls(values, salt, str(rules) if rules else None, dict(settings.hashtag_aliases))

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """What `as_json` gave. Raises KeyError or TypeError for anything else."""
        aliases = {name: tuple(members) for name, members in content["hashtag_aliases"].items()}
        return cls(dict(content["values"]), content["salt"], content["rules"], aliases)

    def as_json(self) -> Values:
        """For the state file."""
        return {
            "values": self.values,
            "salt": self.salt,
            "rules": self.rules,
            "hashtag_aliases": self.hashtag_aliases,
        }

    def settings_of_readers(self, settings: Settings) -> Settings:
        """The settings of a command that reads the stream, with the aliases and rules that the stack has."""
        rules = None if self.rules is None else Path(self.rules)
        alerts = settings.alerts.model_copy(update={"rules": rules})
        return settings.model_copy(update={"hashtag_aliases": self.hashtag_aliases, "alerts": alerts})


def differences(running: Launched, settings: Settings, workers: int) -> list[str]:
    """What the running stack was not started with, a phrase each. Secrets are only named."""
    wanted = Launched.of(settings, workers, running.salt).values
    found = []
    for name in sorted(wanted.keys() & running.values.keys()):  # a setting of another version is no change
        there, here = running.values[name], wanted[name]
        if there == here:
            continue
        hidden = any(isinstance(each, dict) and "hash" in each for each in (there, here))
        said = "has changed" if hidden else f"is {_shown(there)} there and {_shown(here)} here"
        found.append(f"{name} {said}")
    return found


def _named(settings: Settings) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if key in _NOT_OF_THE_STACK:
            continue
        if isinstance(value, Section):
            found += [(f"{key}.{inner}", getattr(value, inner)) for inner in type(value).model_fields]
        else:
            found.append((key, value))
    return found


def _value(value: object, salt: str) -> Any:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value().encode()
        return {"hash": hashlib.scrypt(secret, salt=salt.encode(), **_SCRYPT).hex()}
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dict):
        return {name: _value(each, salt) for name, each in value.items()}
    return value


def _digest(rules: Path | None) -> dict[str, str] | None:
    """Raises SettingsError if the file cannot be read."""
    if rules is None:
        return None
    try:
        return {"hash": hashlib.sha256(rules.read_bytes()).hexdigest()}
    except OSError as error:
        raise SettingsError(f"alerts.rules: {rules} cannot be read ({error.strerror or error})") from error


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
