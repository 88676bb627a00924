"""Output that any terminal, file or pipe takes."""

from __future__ import annotations

import io
import os

import pytest

from fanpulse.cli import output
from fanpulse.cli.output import READER_GONE, Output, OutputError


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Output, "escaped", False)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.stderr", io.StringIO())
    output.install()


def written(text: str, encoding: str) -> str:
    """What arrives in a file of an encoding."""
    data = io.BytesIO()
    with Output(io.TextIOWrapper(data, encoding=encoding)) as stream:
        stream.write(text)
        stream.flush()
        return data.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("text", "encoding", "shown", "escaped"),
    [
        ("#文化和自然遗产日 → ✓ │▇", "utf-8", "#文化和自然遗产日 → ✓ │▇", False),
        ("1 → 2 ✓ …", "latin-1", "1 -> 2 + ...", False),
        ("╭─╮│▇▂", "ascii", "+-+|##", False),
        ("Müller", "latin-1", "Müller", False),
        ("#文化", "latin-1", r"#\u6587\u5316", True),
        ("a\udce9.csv 🌸", "utf-8", r"a\udce9.csv 🌸", True),
        ("🌸", "ascii", r"\U0001f338", True),
    ],
)
def test_every_text_can_be_written(text: str, encoding: str, shown: str, escaped: bool) -> None:
    """Our own signs have a plain form; what somebody else wrote is escaped, and remembered as such."""
    assert written(text, encoding) == shown
    assert output.escaped() == escaped


def broken_pipe() -> Output:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return Output(open(writing, "w", encoding="utf-8"))  # noqa: PTH123


def test_a_pipe_that_nobody_reads_ends_the_command() -> None:
    """As SIGPIPE would; what is written while it ends disappears."""
    with broken_pipe() as stream:
        stream.write("a line\n")
        with pytest.raises(SystemExit) as caught:
            stream.flush()
        assert caught.value.code == READER_GONE
        stream.write("another\n")
        stream.flush()


def test_a_service_outlives_a_broken_pipe() -> None:
    """Only its terminal channel fails, which delivers again later."""
    stream = broken_pipe()
    stream.ends_command = False
    stream.write("a line\n")
    with pytest.raises(BrokenPipeError):
        stream.flush()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_full_disk_is_an_error_in_words() -> None:
    """The reason is the system's."""
    with Output(open("/dev/full", "w", encoding="utf-8")) as stream:  # noqa: PTH123
        stream.write("a line\n")
        with pytest.raises(OutputError, match=r"the output cannot be written: .*space"):
            stream.flush()
