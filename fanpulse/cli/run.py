"""Runs one command: from its arguments to its exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import typer

from fanpulse.cli import output
from fanpulse.cli.endings import ending
from services.runtime.private import private_files


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; returns its exit code.

    Raises KeyboardInterrupt after an interrupt. Every other error has been shown, as one line.
    """
    with private_files():
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    output.install()
    # Of a library that complains, the error that it raises says the same. A service configures its own log.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        try:
            code = _call(arguments)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except Exception as error:  # noqa: BLE001 - the last resort
            code = ending(error, arguments)
        sys.stdout.flush()
    except SystemExit as error:  # nobody reads what is left
        return error.code if isinstance(error.code, int) else output.READER_GONE
    except output.OutputError as error:
        return ending(error, arguments)
    if output.escaped():
        _say_escaped()
    return code


def _call(arguments: Sequence[str]) -> int:
    from fanpulse.cli.app import build_app

    command = typer.main.get_command(build_app())
    code = command.main(list(arguments), prog_name="fanpulse", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _say_escaped() -> None:
    encoding = sys.stdout.encoding
    sys.stderr.write(
        f"fanpulse: {encoding} lacks some of these characters, which are written as \\uXXXX; "
        "set PYTHONIOENCODING=utf-8 for all of them\n"
    )
