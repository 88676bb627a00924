"""Logging: one structured line per event on standard error, for our code and the libraries alike."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any, Literal, TextIO

import structlog

from schemas.printable import printable, printable_json
from services.runtime.redaction import redact, redacted
from services.runtime.repetition import RepetitionFilter

#: Libraries that tell more at INFO than an operator wants to read.
_QUIET = ("aiokafka", "asyncio", "faust", "httpcore", "httpx", "httpx_retries", "mode", "uvicorn")

#: Fields that a renderer of structlog needs as they are.
_KEPT = frozenset({"exc_info", "stack_info", "stack"})


def configure(level: Literal["debug", "info", "warning", "error"], fmt: Literal["json", "console"]) -> None:
    """Send structlog and the standard library's logging to standard error, as JSON or as lines for people.

    A line has ``event`` (constant text), ``level``, ``logger``, ``timestamp`` (UTC, ISO 8601) and the fields
    of the event; an exception becomes a field too. Libraries log from WARNING on, unless `level` is debug.
    A line that repeats is written at growing intervals, with the number ``left_out`` (`RepetitionFilter`).
    Nothing that `redaction.protect` was told is in a line. A second call replaces the first configuration.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(fmt)],
        )
    )
    handler.addFilter(RepetitionFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)


def _renderers(fmt: Literal["json", "console"]) -> list[structlog.typing.Processor]:
    """The renderers. Tracebacks omit the values of local variables, which may be events or secrets."""
    if fmt == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [
            structlog.processors.ExceptionRenderer(tracebacks),
            _fields_redacted,
            structlog.processors.JSONRenderer(_json, ensure_ascii=False),
        ]
    return [
        _fields_redacted,
        _fields_printable,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback),
    ]


def _json(value: Any, **options: Any) -> str:
    return printable_json(json.dumps(value, **options))


def _plain_traceback(lines: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    lines.write(printable(redact(text.getvalue())))


def _fields_redacted(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Libraries log addresses and requests, in which our secrets may be."""
    return {name: value if name in _KEPT else redacted(value) for name, value in event.items()}


def _fields_printable(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What senders chose may be in any field, and must not steer the terminal."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}
