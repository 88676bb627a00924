"""What commands share: settings completed from the local stack, exit codes, a console."""

from __future__ import annotations

import json
import re
import sys
from enum import IntEnum, StrEnum
from typing import Annotated

import typer

from fanpulse.cli.console import PrintableConsole
from fanpulse.cli.output import takes_unicode
from fanpulse.devstack import state
from fanpulse.devstack.state_paths import StatePaths
from schemas.printable import printable, printable_json
from schemas.problems import FORMS
from services.runtime.settings import NAMESPACE_FORM, Settings, load_settings
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


#: The option of every command that reads or writes a stream.
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="Use this namespace instead of the one in the settings; `fanpulse status` lists those that run.",
        show_default=False,
    ),
]


def own_settings(namespace: str | None = None) -> Settings:
    """The settings as they are written, in this namespace if it is given.

    Raises SettingsError and UsageError.
    """
    if namespace is None:
        return load_settings()
    check_namespace("--namespace", namespace)
    return load_settings(namespace=namespace)


def check_namespace(option: str, name: str) -> None:
    """Raises UsageError if the value of an option cannot be a namespace."""
    if not re.fullmatch(NAMESPACE_FORM, name):
        raise UsageError(f"{option} (it is {name!r}) {FORMS[NAMESPACE_FORM]}")


def settings(namespace: str | None = None) -> Settings:
    """The settings of a command that reads or writes a stream: as `own_settings`, but if the stack of the
    namespace runs, with its broker, and with the aliases and rules that it counts and decides with.

    Raises SettingsError and UsageError.
    """
    return with_stack(own_settings(namespace))


def settings_of_a_stream(namespace: str | None = None, *, otherwise: str = "") -> Settings:
    """The same, with a broker.

    Raises SettingsError, UsageError, and UnavailableError if no broker is known. ``otherwise`` is what else
    one may do then.
    """
    loaded = settings(namespace)
    if loaded.kafka.bootstrap is None:
        raise UnavailableError(nothing_runs(loaded, otherwise))
    return loaded


def nothing_runs(loaded: Settings, otherwise: str = "") -> str:
    """The line for a stack that does not run, with those that do."""
    where = f" in the namespace {loaded.namespace}" if loaded.namespace else ""
    others = [name for name in state.running(loaded.state_dir) if name != loaded.namespace]
    if others:
        named = " or ".join(f"--namespace {name or repr(name)}" for name in others)
        return f"no stack runs{where}, but {_listing(others)} does; add {named}{otherwise}"
    return f"no stack runs{where}; start one with `fanpulse up`, or set FANPULSE_KAFKA_BOOTSTRAP{otherwise}"


def _listing(namespaces: list[str]) -> str:
    return ", ".join(f"that of {name}" if name else "the one without a name" for name in namespaces)


def with_stack(loaded: Settings) -> Settings:
    """Loaded settings, completed from the running stack of their namespace, if that uses the same broker."""
    state_paths = StatePaths.of(loaded)
    status, launched = state.read(state_paths), state.launched(state_paths)
    if status is None:
        return loaded
    bootstrap = status["kafka"]["bootstrap"]
    if loaded.kafka.bootstrap not in (None, bootstrap):
        return loaded
    kafka = loaded.kafka.model_copy(update={"bootstrap": bootstrap})
    completed = loaded.model_copy(update={"kafka": kafka})
    return completed if launched is None else launched.settings_of_readers(completed)


def ingest_url(loaded: Settings | None = None) -> str:
    """Base address of ingest, without a trailing slash: that of the local stack, else that of the settings.

    Raises SettingsError.
    """
    loaded = loaded or load_settings()
    status = state.read(StatePaths.of(loaded))
    if status and status["ingest"]:
        return str(status["ingest"][0]["url"])
    return f"http://{reachable(loaded.ingest.host)}:{loaded.ingest.port}"
