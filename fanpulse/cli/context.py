"""What commands share: settings completed from the local stack, exit codes, a console."""

from __future__ import annotations

import json
import sys
from enum import IntEnum, StrEnum
from typing import Any

from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.output import takes_unicode
from fanpulse.devstack import state
from fanpulse.devstack.state_paths import StatePaths
from schemas.printable import printable, printable_json
from services.runtime.settings import Settings, load_settings
from services.supervise.addresses import reachable


class Exit(IntEnum):
    """Exit codes of `fanpulse`."""

    OK = 0
    #: A verdict or a check is bad, or a start failed.
    FAILED = 1
    #: Wrong usage, a wrong setting, or a missing extra.
    USAGE = 2
    #: The broker cannot be reached, or no local stack runs.
    UNAVAILABLE = 3
    #: `fanpulse up` found that the stack is already running.
    ALREADY_UP = 4
    #: A defect of fanpulse; the traceback is in a file. Also a worker that can no longer count exactly.
    DEFECT = 70


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


def echo(text: str) -> None:
    """Print a line on standard output. What senders chose cannot steer the terminal."""
    sys.stdout.write(f"{printable(text)}\n")


def echo_json(value: object, indent: int | None = 2) -> None:
    """Print a value as JSON. What steers a terminal, or standard output does not take, are JSON escapes."""
    echo(printable_json(json.dumps(value, ensure_ascii=not takes_unicode(), indent=indent)))


class UnavailableError(RuntimeError):
    """The broker or stack that the command needs does not run. The message says how to start it."""


class UsageError(ValueError):
    """The command cannot be called like this. The message is one line: what is wrong, and what to do."""


#: For everything that a command prints besides its result.
stderr = PrintableConsole(stderr=True, highlight=False)


def settings(**overrides: Any) -> Settings:
    """The settings. If they name no broker, that of the local stack is filled in.

    Raises SettingsError.
    """
    return with_broker(load_settings(**overrides))


def settings_of_a_stream() -> Settings:
    """The settings of a command that reads or writes a stream, with its broker.

    Raises SettingsError, and UnavailableError if no broker is known.
    """
    loaded = settings()
    if loaded.kafka.bootstrap is None:
        raise UnavailableError("no stack runs; start one with `fanpulse up`, or set FANPULSE_KAFKA_BOOTSTRAP")
    return loaded


def with_broker(loaded: Settings) -> Settings:
    """Loaded settings. If they name no broker, that of the local stack is filled in."""
    if loaded.kafka.bootstrap is not None:
        return loaded
    status = state.read(StatePaths.of(loaded))
    if status is None:
        return loaded
    kafka = loaded.kafka.model_copy(update={"bootstrap": status["kafka"]["bootstrap"]})
    return loaded.model_copy(update={"kafka": kafka})


def hashtag_aliases(loaded: Settings) -> dict[str, tuple[str, ...]]:
    """The alias groups that the running stack counts with; without a stack, those of the settings."""
    found = state.hashtag_aliases(StatePaths.of(loaded))
    return loaded.hashtag_aliases if found is None else found


def ingest_url(loaded: Settings | None = None) -> str:
    """Base address of ingest, without a trailing slash: that of the local stack, else that of the settings.

    Raises SettingsError.
    """
    loaded = loaded or load_settings()
    status = state.read(StatePaths.of(loaded))
    if status and status["ingest"]:
        return str(status["ingest"][0]["url"])
    return f"http://{reachable(loaded.ingest.host)}:{loaded.ingest.port}"
