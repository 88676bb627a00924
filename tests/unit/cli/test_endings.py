"""How a command ends: whatever goes wrong is one line and a documented exit code."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
import typer

from fanpulse.cli import context
from fanpulse.cli.context import Exit, UnavailableError, UsageError
from fanpulse.cli.endings import ending
from fanpulse.cli.output import OutputError
from services.runtime.kafka import BrokerUnavailableError
from services.runtime.settings import SettingsError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a user."""
    monkeypatch.setenv("FANPULSE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def os_error(number: int, path: object = None) -> OSError:
    """An error of the operating system, as it raises them."""
    return OSError(number, "the reason", path) if path else OSError(number, "the reason")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SettingsError("kafka.bootstrap: not host:port"), Exit.USAGE, "kafka.bootstrap: not host:port"),
        (UsageError("name one"), Exit.USAGE, "name one"),
        (typer.BadParameter("no such day", param_hint="--from"), Exit.USAGE, "--from: no such day; see"),
        (BrokerUnavailableError("a:1: no answer"), Exit.UNAVAILABLE, "a:1: no answer"),
        (UnavailableError("no stack runs"), Exit.UNAVAILABLE, "no stack runs"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no answer"), Exit.UNAVAILABLE, "no answer"),
        (os_error(errno.ENOSPC, "/x"), Exit.FAILED, "/x: the reason"),
        (os_error(errno.EMFILE), Exit.FAILED, "the reason"),
        (os_error(errno.EACCES, "/etc/shadow"), Exit.USAGE, "/etc/shadow: the reason"),
        (os_error(errno.EISDIR, b"/etc"), Exit.USAGE, "/etc: the reason"),
        (OutputError("the output cannot be written"), Exit.FAILED, "the output cannot be written"),
        (MemoryError(), Exit.FAILED, "not enough memory"),
        (typer.Abort(), Exit.FAILED, "nothing was done"),
        (
            ModuleNotFoundError("no duckdb", name="duckdb"),
            Exit.USAGE,
            "duckdb is not installed; this command needs: ",
        ),
        (ModuleNotFoundError("no aiokafka", name="aiokafka"), Exit.USAGE, "aiokafka is not installed"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_expected_error_is_one_line(
    error: Exception, code: Exit, said: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is wrong, and leaves no file behind."""
    assert ending(error, ["audit"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("fanpulse: ")
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert not state.exists()


def test_a_state_folder_that_cannot_be_written_says_which_setting(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever in it the command stumbled."""
    assert ending(os_error(errno.EROFS, str(state / "stack" / "default.json")), ["up"]) == Exit.USAGE
    assert "set FANPULSE_STATE_DIR to another folder" in capsys.readouterr().err


def test_an_unexpected_error_leaves_its_traceback_in_a_file(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names it and the file, which only the user can read. Arguments may be keys: it has none."""
    try:
        raise KeyError("half\nof it")
    except KeyError as error:
        code = ending(error, ["load", "--api-key", "hidden"])
    assert code == Exit.DEFECT
    line = capsys.readouterr().err
    file = state / "logs" / "errors.log"
    assert line.count("\n") == 1
    assert "defect of fanpulse" in line
    assert str(file) in line
    text = file.read_text("utf-8")
    assert "Traceback (most recent call last)" in text
    assert re.match(r"\d{4}-\S+Z fanpulse \S+ load,", text)
    assert "hidden" not in text
    assert file.stat().st_mode & 0o077 == 0


def test_an_unexpected_error_without_a_state_folder_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file stands where the folder should be: the traceback goes to a temporary one."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("FANPULSE_STATE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ending(KeyError("x"), ["up"]) == Exit.DEFECT
    (file,) = tmp_path.glob("fanpulse-*/errors.log")
    assert str(file) in capsys.readouterr().err


def test_an_error_of_cleaning_up_after_an_interrupt_is_the_interrupt() -> None:
    """Ctrl-C may close a connection under somebody's feet; that is no news."""
    error = OSError("closed")
    error.__context__ = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        ending(error, ["up"])


def test_exit_codes_are_documented() -> None:
    """docs/commands.md has each code that there is, and no other."""
    table = (
        (ROOT / "docs" / "commands.md").read_text("utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    )
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert documented == {*map(int, context.Exit), 130, 141, 143}
