"""Every line of a service's log is of one form, whoever wrote it."""

from __future__ import annotations

import json
import logging as stdlib
import re
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from services.runtime import logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The logging of the test run comes back after each test."""
    root = stdlib.getLogger()
    handlers, level, library = list(root.handlers), root.level, stdlib.getLogger("aiokafka").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    stdlib.getLogger("aiokafka").setLevel(library)
    stdlib.captureWarnings(False)
    structlog.reset_defaults()


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines on standard error; nothing may be on standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_ours_and_foreign_lines_have_the_same_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """structlog, the standard library and warnings give JSON objects with event, level, logger and time."""
    logging.configure("info", "json")
    structlog.get_logger("ours").info("flushed", partition=3, hashtag="临夏杏花")
    stdlib.getLogger("theirs").warning("lost %s", "connection", extra={"node": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    ours, theirs, warned = written(capsys)
    assert (ours["event"], ours["partition"], ours["hashtag"]) == ("flushed", 3, "临夏杏花")
    assert (theirs["event"], theirs["logger"], theirs["node"]) == ("lost connection", "theirs", 1)
    assert "DeprecationWarning: old" in warned["event"]
    for line in (ours, theirs, warned):
        assert {"event", "level", "logger", "timestamp"} <= set(line)
        assert line["timestamp"].endswith("Z")


def fail_with_a_secret() -> None:
    """Logs an exception from a function that has something to hide."""
    secret = "hunter" + str(2)
    try:
        raise ValueError(f"broken after {len(secret)} characters")
    except ValueError:
        structlog.get_logger("ours").exception("failed")


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_a_traceback_shows_no_values(
    fmt: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception is logged with its message, without local variables: they may be events or secrets."""
    logging.configure("info", fmt)
    fail_with_a_secret()
    error = capsys.readouterr().err
    assert "broken after 7 characters" in error
    assert "hunter2" not in error


def test_an_exception_is_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback is within its line, so that a line stays an event."""
    logging.configure("info", "json")
    fail_with_a_secret()
    (line,) = written(capsys)
    assert line["exception"][0]["exc_type"] == "ValueError"


def test_libraries_log_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Below warnings, lines of libraries are left out, and our own below the level; at debug none is."""
    for level, events in (
        ("info", ["gone", "flushed"]),
        ("warning", ["gone"]),
        ("debug", ["heartbeat", "gone", "detail", "flushed"]),
    ):
        logging.configure(level, "json")  # type: ignore[arg-type]
        stdlib.getLogger("aiokafka").info("heartbeat")
        stdlib.getLogger("aiokafka").error("gone")
        structlog.get_logger("ours").debug("detail")
        structlog.get_logger("ours").info("flushed")
        assert [line["event"] for line in written(capsys)] == events


def test_people_get_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The console form is a line with the event and its fields."""
    logging.configure("info", "console")
    structlog.get_logger("ours").info("flushed", partition=3)
    (line,) = capsys.readouterr().err.splitlines()
    words = re.sub(r"\x1b\[[\d;]*m", "", line).split()
    assert words.count("flushed") == words.count("partition=3") == 1
