"""The key of the actor pseudonyms: made once, and never anything that is no key."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.pseudonym_key import FILE, actor_key
from services.runtime.settings import Settings, SettingsError


def test_a_key_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    """The second start reads what the first one made."""
    settings = Settings(state_dir=tmp_path / "state")
    key = actor_key(settings)
    assert key is not None
    assert len(key) == 32
    assert actor_key(settings) == key
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"00", b"0" * 63, b"no hex " * 10, b"\xff" * 64, b"ab" * 64],
    ids=["empty", "newline", "short", "odd", "no hex", "binary", "long"],
)
def test_a_damaged_key_stops_the_start_with_one_line(content: bytes, tmp_path: Path) -> None:
    """An empty one would mean raw ids in the log; any other, other pseudonyms for everybody."""
    path = tmp_path / FILE
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=r"actor\.key.*restore it from a backup") as found:
        actor_key(Settings(state_dir=tmp_path))
    assert "\n" not in str(found.value)
    assert path.read_bytes() == content


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    """With it, everybody on the machine can tell who is behind a pseudonym."""
    path = tmp_path / FILE
    path.write_text("ab" * 32)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        actor_key(Settings(state_dir=tmp_path))
    path.chmod(0o600)
    assert actor_key(Settings(state_dir=tmp_path)) == b"\xab" * 32


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    """As is every other reason why it cannot be read."""
    (tmp_path / FILE).mkdir()
    with pytest.raises(SettingsError, match=r"cannot be read or stored in .*actor\.key"):
        actor_key(Settings(state_dir=tmp_path))
