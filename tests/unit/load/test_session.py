"""`fanpulse load`: a whole command over several files, with an ingest that only counts."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fanpulse.cli.load import Kind
from fanpulse.load.client import Answer, IngestClient, IngestUnavailableError, Rejected
from fanpulse.load.loading import Limits, RejectedRow
from fanpulse.load.parsing.rules import parse_rules
from fanpulse.load.session import FileError, FileReport, Options, Session
from schemas.events import MODELS

HEADER = "occurred_at,platform,account,post_id\n"
RULES = parse_rules("post")


class Ingest(IngestClient):
    """Accepts rows; rejects those of the account `bad`; is away for those of the account `away`."""

    def __init__(self) -> None:
        super().__init__("http://ingest.invalid")
        self.posts: list[str] = []
        self.sources: set[str] = set()
        self.is_away = True

    def post(self, lines: Sequence[bytes], source: str) -> Answer:
        events = [json.loads(line) for line in lines]
        if self.is_away and any(event.get("account") == "away" for event in events):
            raise IngestUnavailableError("away")
        self.sources.add(source)
        self.posts += [event["post_id"] for event in events]
        bad = tuple(
            Rejected(at, "account", "bad_value", "no")
            for at, event in enumerate(events)
            if event["account"] == "bad"
        )
        return Answer(len(lines) - len(bad), bad)


class Display:
    """Remembers what it is shown."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.resumed: list[int] = []
        self.rejected_lines: list[int] = []
        self.not_kept_because: list[str] = []

    def begin(self, report: FileReport) -> None:
        self.resumed.append(report.resumed.rows if report.resumed else 0)

    def progress(self, report: FileReport, done: int, total: int | None) -> None:
        assert total is None or done <= total

    def rejected(self, report: FileReport, rows: Sequence[RejectedRow]) -> None:
        self.rejected_lines += [row.line for row in rows]

    def end(self, report: FileReport) -> None:
        self.ended.append(report.name)

    def not_kept(self, reason: str) -> None:
        self.not_kept_because.append(reason)


def write(path: Path, *accounts: str) -> str:
    """A file with a row for each account; posts are named after file and line."""
    rows = (
        f"2026-06-22T09:30:00Z,twitter,{account},{path.stem}{number}\n"
        for number, account in enumerate(accounts, 2)
    )
    path.write_text(HEADER + "".join(rows))
    return str(path)


def run(
    ingest: Ingest,
    folder: Path,
    *paths: str,
    display: Display | None = None,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> tuple[bool, list[FileReport]]:
    """Run a command to its end, or to its error; whether all was loaded, and what became of the files."""
    chosen: dict[str, Any] = {"rules": RULES, "limits": Limits(batch_rows=2, in_flight=1)} | options
    with Session(
        paths,
        Options(**chosen),
        ingest,
        display or Display(),
        folder=folder / "load",
        destination="here",
        stop=stop,
    ) as session:
        session.check()
        return session.run(), session.reports


def test_an_interrupted_command_goes_on_in_the_file_where_it_stood(tmp_path: Path) -> None:
    """Files that were done are not sent again, the one that was interrupted goes on, and after the end of the
    command nothing is remembered: to load once more starts over."""
    first, second = (
        write(tmp_path / "a.csv", "x", "bad", "y"),
        write(tmp_path / "b.csv", *"pqr", "away", *"st"),
    )
    ingest, display = Ingest(), Display()
    with pytest.raises(IngestUnavailableError):
        run(ingest, tmp_path, first, second, display=display)
    assert ingest.posts == ["a2", "a3", "a4", "b2", "b3"]
    ingest.is_away = False
    again = Display()
    _, reports = run(ingest, tmp_path, first, second, display=again)
    assert ingest.posts == ["a2", "a3", "a4", "b2", "b3", "b4", "b5", "b6", "b7"]
    assert again.resumed == [3, 2]
    assert [report.result.rows for report in reports] == [3, 6]
    assert [report.result.rejected for report in reports] == [{"bad_value": 1}, {}]
    assert ingest.sources == {"file:a.csv", "file:b.csv"}
    assert not list((tmp_path / "load").iterdir())
    run(ingest, tmp_path, first, second)
    assert len(ingest.posts) == 18


def test_restart_forgets_what_was_done(tmp_path: Path) -> None:
    """--restart begins at the first row of the first file."""
    path = write(tmp_path / "a.csv", "x", "y", "away")
    ingest = Ingest()
    with pytest.raises(IngestUnavailableError):
        run(ingest, tmp_path, path)
    ingest.is_away = False
    run(ingest, tmp_path, path, restart=True)
    assert ingest.posts == ["a2", "a3", "a2", "a3", "a4"]


def test_rejected_rows_are_kept_in_a_file_of_errors_across_an_interruption(tmp_path: Path) -> None:
    """Each once, with file and line; a command that starts over reads the file from its start."""
    path = write(tmp_path / "a.csv", "bad", "x", "away", "bad")
    errors = tmp_path / "errors.jsonl"
    ingest = Ingest()
    with pytest.raises(IngestUnavailableError):
        run(ingest, tmp_path, path, errors=errors)
    ingest.is_away = False
    for _ in range(2):
        run(ingest, tmp_path, path, errors=errors)
        rows = [json.loads(line) for line in errors.read_text().splitlines()]
        assert [(row["file"], row["line"], row["reason"]) for row in rows] == [
            (path, 2, "bad_value"), (path, 5, "bad_value"),
        ]  # fmt: skip


def test_a_damaged_file_is_loaded_up_to_the_damage(tmp_path: Path) -> None:
    """The error says how many rows that was, and a mended copy is another file."""
    path = tmp_path / "a.csv.gz"
    rows = "".join(
        f"2026-06-22T09:30:00Z,twitter,{os.urandom(30).hex()},p{number}\n" for number in range(20_000)
    )
    compressed = gzip.compress((HEADER + rows).encode())
    path.write_bytes(compressed[: len(compressed) // 2])
    ingest = Ingest()
    with pytest.raises(FileError, match="gzip data is damaged or cut short") as caught:
        run(ingest, tmp_path, str(path), limits=Limits(in_flight=1))
    assert f"the {len(ingest.posts):,} rows before that are loaded" in str(caught.value)
    assert 5000 < len(ingest.posts) < 20_000


def test_a_stop_is_heard_while_a_pipe_has_given_nothing_yet(tmp_path: Path) -> None:
    """Ctrl-C works though not a byte has come."""
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    finished, _ = run(Ingest(), tmp_path, str(tmp_path / "pipe"), stop=lambda: True)
    os.close(writer)
    assert not finished


def test_a_misspelt_key_of_json_rows_is_told(tmp_path: Path) -> None:
    """Rows of JSON have no header to hold a --map against, so the end tells which key no row had."""
    path = tmp_path / "a.jsonl"
    row = {"occurred_at": 1_782_120_600_000, "platform": "twitter", "account": "x", "id": "p1", "more": 1}
    path.write_text(json.dumps(row))
    rules = parse_rules("post", ["post_id=id", "campaign=campain"])
    _, (report,) = run(Ingest(), tmp_path, str(path), rules=rules)
    assert report.unused_maps == {"campaign": "campain"}
    assert report.ignored == ["more"]


def test_an_errors_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    """Before anything is sent."""
    ingest = Ingest()
    with pytest.raises(FileError, match="--errors"):
        run(ingest, tmp_path, write(tmp_path / "a.csv", "x"), errors=tmp_path / "no" / "errors")
    assert not ingest.posts


def test_the_kinds_of_the_help_page_are_those_of_the_contract() -> None:
    """A new kind must not be forgotten there."""
    assert [kind.value for kind in Kind] == list(MODELS)


def test_a_checkpoint_that_cannot_be_kept_ends_no_load(tmp_path: Path) -> None:
    """The state folder takes no file: the load goes on to its end, and says so once."""
    (tmp_path / "load").touch()
    ingest, display = Ingest(), Display()
    finished, _ = run(ingest, tmp_path, write(tmp_path / "a.csv", *"uvwxyz"), display=display)
    assert finished
    assert len(ingest.posts) == 6
    assert len(display.not_kept_because) == 1
    assert str(tmp_path / "load") in display.not_kept_because[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_rejected_rows_that_cannot_be_written_are_not_passed_over(tmp_path: Path) -> None:
    """The load ends with the file's name. The next one begins before the rows that were not written."""
    path = write(tmp_path / "a.csv", "u", "v", "bad", "w", "x")
    ingest = Ingest()
    with pytest.raises(OSError, match="No space left on device") as caught:
        run(ingest, tmp_path, path, errors=Path("/dev/full"))
    assert caught.value.filename == "/dev/full"
    display = Display()
    errors = tmp_path / "errors.jsonl"
    assert run(ingest, tmp_path, path, errors=errors, display=display)[0]
    assert display.resumed == [2]
    assert [json.loads(line)["line"] for line in errors.read_text().splitlines()] == [4]


def test_a_line_of_the_errors_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """The disk takes only a part of a batch (a limit on the size of files): none of it stays."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from fanpulse.load.errors_file import ErrorsFile\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\n"
        "file = ErrorsFile(Path(sys.argv[1]), append=False)\n"
        "file.write([{'row': 1}])\n"
        "try:\n"
        "    file.write([{'row': 'x' * 30}, {'row': 3}])\n"
        "except OSError as error:\n"
        "    print(error.filename)\n"
    )
    path = tmp_path / "errors.jsonl"
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == str(path)
    assert path.read_text() == '{"row": 1}\n'
