"""What commands have in common: settings that know of the local stack, exit codes, consoles."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from rich.console import Console

from fanpulse.devstack import state
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.settings import Settings, load_settings
from services.supervise.addresses import reachable


class Exit(IntEnum):
    """Exit codes of `fanpulse`."""

    OK = 0
    #: What was asked for did not hold: a verdict, a check, a start that failed.
    FAILED = 1
    #: Wrong usage, a wrong setting, or an extra that is not installed.
    USAGE = 2
    #: The broker cannot be reached, or no local stack runs.
    UNAVAILABLE = 3
    #: `fanpulse up` found that the stack runs already.
    ALREADY_UP = 4


class UnavailableError(RuntimeError):
    """What the command needs does not run; the message says how to start it."""


#: For what a command says besides its result.
stderr = Console(stderr=True, highlight=False)


def settings(**overrides: Any) -> Settings:
    """The settings, with the address of the local stack's broker unless another one is set.

    Raises SettingsError.
    """
    return with_broker(load_settings(**overrides))


def with_broker(loaded: Settings) -> Settings:
    """The same for settings that are loaded already."""
    if loaded.kafka.bootstrap is not None:
        return loaded
    status = state.read(StatePaths.of(loaded))
    if status is None:
        return loaded
    kafka = loaded.kafka.model_copy(update={"bootstrap": status["kafka"]["bootstrap"]})
    return loaded.model_copy(update={"kafka": kafka})


def ingest_url(loaded: Settings | None = None) -> str:
    """Base address of ingest, without a slash at its end: that of the local stack, else as set.

    Raises SettingsError.
    """
    loaded = loaded or load_settings()
    status = state.read(StatePaths.of(loaded))
    if status and status["ingest"]:
        return str(status["ingest"][0]["url"])
    return f"http://{reachable(loaded.ingest.host)}:{loaded.ingest.port}"
