"""What fanpulse keeps is for its owner alone; what a user asks for is the user's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.runtime.private import close_state, files_for_the_user, make_folder, open_paths, private_files


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_private_but_for_those_that_the_user_asks_for(tmp_path: Path) -> None:
    """Nested, and back to the umask of before."""
    with private_files():
        (tmp_path / "ours").write_text("")
        with files_for_the_user():
            (tmp_path / "report").write_text("")
        (tmp_path / "ours too").write_text("")
    (tmp_path / "after").write_text("")
    names = ("ours", "report", "ours too", "after")
    assert [mode(tmp_path / name) for name in names] == [0o600, 0o644, 0o600, 0o644]


def test_a_stricter_umask_of_the_user_is_kept(tmp_path: Path) -> None:
    """A umask that takes rights from the user too, such as 0277."""
    os.umask(0o277)
    with private_files():
        (tmp_path / "ours").write_text("")
    assert mode(tmp_path / "ours") == 0o400


def test_a_folder_is_made_private_with_those_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    assert [mode(tmp_path / each) for each in ("a", "a/b", "a/b/c")] == [0o700] * 3
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


def test_a_state_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    """With what is in it; its owner's rights stay."""
    state = tmp_path / "state"
    (state / "logs").mkdir(parents=True)
    (state / "actor.key").write_text("")
    assert open_paths(state) == [state, state / "actor.key", state / "logs"]
    close_state(state)
    assert open_paths(state) == []
    assert [mode(each) for each in (state, state / "logs", state / "actor.key")] == [0o700, 0o700, 0o600]


def test_a_folder_that_holds_more_than_ours_keeps_its_mode(tmp_path: Path) -> None:
    """A home, or /tmp: only what is ours in it is closed."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "photos").mkdir()
    tmp_path.chmod(0o755)
    close_state(tmp_path)
    assert [mode(tmp_path / each) for each in (".", "logs", "photos")] == [0o755, 0o700, 0o755]
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    close_state(shared)
    assert mode(shared) == 0o1777
