"""How a command ends after an error: one line on standard error, and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog
import typer
from rich.markup import escape

from fanpulse.cli.context import Exit, UnavailableError, UsageError, stderr
from fanpulse.cli.output import OutputError
from fanpulse.cli.usage import usage_problem
from fanpulse.devstack.extras import MODULES, install_command
from services.runtime.kafka import BrokerUnavailableError
from services.runtime.private import make_folder
from services.runtime.redaction import redact
from services.runtime.settings import SettingsError, load_settings
from services.runtime.stream import StreamError

#: A module that several extras bring is blamed on the extra of the command.
COMMAND_EXTRAS = {"up": "stack", "demo": "all", "load": "ingest", "audit": "audit", "doctor": "stack"}
_CODES: tuple[tuple[type[Exception], Exit], ...] = (
    (SettingsError, Exit.USAGE),
    (UsageError, Exit.USAGE),
    (BrokerUnavailableError, Exit.UNAVAILABLE),
    (UnavailableError, Exit.UNAVAILABLE),
    (StreamError, Exit.FAILED),
    (OutputError, Exit.FAILED),
)
#: Reasons for which a file or folder that was named cannot be used.
_UNUSABLE = frozenset(
    getattr(errno, name)
    for name in (
        "EACCES",
        "EPERM",
        "EROFS",
        "ENOENT",
        "ENOTDIR",
        "EISDIR",
        "EEXIST",
        "ENAMETOOLONG",
        "ELOOP",
        "ENXIO",
    )
)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STATE_ADVICE = "give yourself the right to write there, or set FANPULSE_STATE_DIR to another folder"


def ending(error: Exception, arguments: Sequence[str]) -> int:
    """Show what an error means for the user, and return the exit code; an interrupt has no line."""
    if _was_interrupted(error):
        raise KeyboardInterrupt from error
    for kind, code in _CODES:
        if isinstance(error, kind):
            return _say(str(error), code)
    if isinstance(error, typer.Abort):
        return _say("stopped at the question; nothing was done", Exit.FAILED)
    if hasattr(error, "format_message"):  # of the parser of the command line
        return _wrong_usage(error)
    if isinstance(error, ModuleNotFoundError):
        return _module_missing(error, arguments)
    if isinstance(error, OSError) and error.errno is not None:
        return _os_error(error)
    if isinstance(error, MemoryError):
        return _say("there is not enough memory; close other programs, or load less at once", Exit.FAILED)
    return defect(error, arguments)


def missing_extra(module: str, arguments: Sequence[str]) -> str | None:
    """The extra that brings a module, for a command line; None if no extra does."""
    extra = MODULES.get(module.partition(".")[0])
    if extra is None:
        return None
    command = next((word for word in arguments if not word.startswith("-")), "")
    return COMMAND_EXTRAS.get(command, extra)


def defect(error: Exception, arguments: Sequence[str]) -> int:
    """Write the traceback to a file, or to the log of a service, and say where it is."""
    kind = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if arguments[:1] == ["serve"]:  # a service has a log
        structlog.get_logger(__name__).critical("unexpected_error", exc_info=error)
        return _say(
            f"unexpected error ({kind}); this is a defect of fanpulse: see the line before", Exit.DEFECT
        )
    file = _record(error, arguments)
    where = f"the traceback is in {file}" if file else "no file could be written for its traceback"
    return _say(f"unexpected error ({kind}); this is a defect of fanpulse: {where}", Exit.DEFECT)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an interrupt led to the error, which then comes of the cleaning up."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def _wrong_usage(error: Exception) -> int:
    """A mistake of usage, in one line. Without any argument, a command shows its help page."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]
        return Exit.USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "fanpulse"
    return _say(f"{usage_problem(error)}; see `{command} --help`", Exit.USAGE)


def _module_missing(error: ModuleNotFoundError, arguments: Sequence[str]) -> int:
    name = (error.name or "").partition(".")[0]
    if name in ("fanpulse", "services", "schemas", ""):
        return defect(error, arguments)
    extra = missing_extra(name, arguments)
    if extra is None:
        return _say(f"{name} is not installed, and fanpulse needs it: install fanpulse again", Exit.USAGE)
    return _say(f"{name} is not installed; this command needs: {install_command(extra)}", Exit.USAGE)


def _os_error(error: OSError) -> int:
    return _say(*os_error(error))


def os_error(error: OSError) -> tuple[str, Exit]:
    """The line and the exit code for an error of the operating system."""
    reason = error.strerror or type(error).__name__
    if error.errno in _NO_SPACE:
        where = f"{_path(error.filename)}: " if error.filename is not None else ""
        return f"{where}{reason}; free some space on that disk", Exit.FAILED
    if error.filename is None:
        if isinstance(error, ConnectionError | TimeoutError):
            return f"a connection failed: {reason}", Exit.UNAVAILABLE
        return f"the system says: {reason}", Exit.FAILED
    path = _path(error.filename)
    code = Exit.USAGE if error.errno in _UNUSABLE else Exit.FAILED
    in_state = error.errno in _UNUSABLE and _is_in_state_folder(Path(path))
    return f"{path}: {reason}{f'; {_STATE_ADVICE}' if in_state else ''}", code


def _path(name: str | bytes | int) -> str:
    return str(name) if isinstance(name, int) else os.fsdecode(name)


def _is_in_state_folder(path: Path) -> bool:
    with contextlib.suppress(SettingsError):
        folder = load_settings().state_dir.absolute()
        return path.absolute().is_relative_to(folder) or folder.is_relative_to(path.absolute())
    return False


def _record(error: Exception, arguments: Sequence[str]) -> Path | None:
    """Append the traceback to a file that only the user can read; None if there is nowhere to write.

    Of the arguments only the command is kept: others may be keys.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = f"{when} fanpulse {_version()} {command}, Python {sys.version.split()[0]}\n"
    text += redact("".join(traceback.format_exception(error)))
    for folder in _record_folders():
        file = folder / "errors.log"
        try:
            make_folder(folder)
            descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "a", encoding="utf-8", errors="backslashreplace") as lines:  # noqa: PTH123
                lines.write(text + "\n")
        except OSError:
            continue
        return file
    return None


def _record_folders() -> Iterator[Path]:
    with contextlib.suppress(SettingsError):
        yield load_settings().state_dir.absolute() / "logs"
    with contextlib.suppress(OSError):
        yield Path(tempfile.mkdtemp(prefix="fanpulse-"))


def _version() -> str:
    try:
        return version("fanpulse")
    except PackageNotFoundError:
        return "unknown"


def _say(reason: str, code: Exit) -> int:
    line = redact(" ".join(reason.split()))
    stderr.print(f"[bold red]fanpulse:[/bold red] {escape(line)}", soft_wrap=True)
    return code
