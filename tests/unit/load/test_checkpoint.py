"""`fanpulse load`: where an interrupted load goes on."""

from __future__ import annotations

import os
from pathlib import Path

from fanpulse.load.checkpoint import Checkpoint, CheckpointFile, checkpoints
from fanpulse.load.parsing.rules import Rules, parse_rules

DONE = Checkpoint(end=120, lines=7, rows=6, accepted=5, rejected={"bad_time": 1}, seconds=0.5)


def one(folder: Path, *paths: Path, rules: Rules = parse_rules("post"), to: str = "here") -> CheckpointFile:  # noqa: B008
    """The checkpoint of the first of some files."""
    found = checkpoints(folder, [str(path) for path in paths], rules, to)[0]
    assert found is not None
    return found


def test_a_checkpoint_is_kept_until_it_is_cleared(tmp_path: Path) -> None:
    """Written by one run, read by the next."""
    file = tmp_path / "posts.csv"
    file.write_text("a\n1\n")
    assert one(tmp_path / "state", file).read() is None
    one(tmp_path / "state", file).write(DONE)
    assert one(tmp_path / "state", file).read() == DONE
    one(tmp_path / "state", file).clear()
    one(tmp_path / "state", file).clear()
    assert one(tmp_path / "state", file).read() is None


def test_it_belongs_to_one_content_one_set_of_options_and_one_destination(tmp_path: Path) -> None:
    """A changed file, other rules or another stream begin at the start; a renamed file goes on."""
    file, other = tmp_path / "posts.csv", tmp_path / "other.csv"
    file.write_text("a\n1\n")
    other.write_text("a\n2\n")
    one(tmp_path, file).write(DONE)
    assert one(tmp_path, file, rules=parse_rules("post", ["account=a"])).read() is None
    assert one(tmp_path, file, to="there").read() is None
    assert one(tmp_path, file, other).read() is None
    assert one(tmp_path, other).read() is None
    renamed = file.rename(tmp_path / "renamed.csv")
    assert one(tmp_path, renamed).read() == DONE
    os.utime(renamed, ns=(1, 1))
    assert one(tmp_path, renamed).read() is None


def test_a_pipe_has_none(tmp_path: Path) -> None:
    """It cannot be read again from its middle."""
    os.mkfifo(tmp_path / "pipe")
    assert checkpoints(tmp_path, ["-", str(tmp_path / "pipe")], parse_rules(), "here") == [None, None]


def test_a_file_given_twice_has_two(tmp_path: Path) -> None:
    """The second turn is not taken for done because the first is."""
    file = tmp_path / "posts.csv"
    file.write_text("a\n1\n")
    first, second = checkpoints(tmp_path, [str(file), str(file)], parse_rules("post"), "here")
    assert first
    assert second
    first.write(DONE)
    assert second.read() is None


def test_a_checkpoint_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Loading again from the start is always right, since rows count once."""
    file = tmp_path / "posts.csv"
    file.write_text("a\n1\n")
    one(tmp_path / "state", file).write(DONE)
    (kept,) = (tmp_path / "state").iterdir()
    for text in ("", "{}", '{"checkpoint":{"row":1}}', "\xff"):
        kept.write_text(text, encoding="latin-1")
        assert one(tmp_path / "state", file).read() is None
