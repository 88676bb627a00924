"""The rule file of the settings, or the one that comes with fanpulse."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from services.alerts.deciding.rule_file import RulesError, parse_rules
from services.alerts.deciding.rules import Rules
from services.runtime.settings import SettingsError


class RuleFileError(ValueError):
    """The rule file cannot be read. The message says which, and why."""


PACKAGED = "rules.toml of fanpulse"


def load_rules(path: Path | None) -> Rules:
    """The rules of a file, or the packaged ones. Raises SettingsError."""
    try:
        return parse_rules(*read_rules(path))
    except RuleFileError as error:
        raise SettingsError(f"alerts.rules: {error}; correct the path") from error
    except RulesError as error:
        more = len(error.mistakes) - 1
        rest = f" ({more} more: `fanpulse rules check`)" if more else ""
        raise SettingsError(f"alerts.rules: {error}{rest}") from error


def read_rules(path: Path | None) -> tuple[str, str]:
    """The text of the rule file, and what to call it. Raises RuleFileError if it cannot be read."""
    if path is None:
        return files("services.alerts").joinpath("rules.toml").read_text(encoding="utf-8"), PACKAGED
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise RuleFileError(f"{path} cannot be read ({reason})") from error
