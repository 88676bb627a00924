"""`fanpulse doctor` names what others can get at, and mistakes of the keys file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanpulse.devstack.checks import Finding, Level
from fanpulse.devstack.checks.access import access, keys_file, settings_file, state_files
from services.ingest.pipeline.keys import KeysError, read_keys
from services.runtime.settings import CONFIG_VARIABLE, IngestSettings, Settings

KEY = hashlib.sha256(b"a key").hexdigest()
GOOD = f'[[key]]\nname = "poller"\nsha256 = "{KEY}"\n'


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(GOOD)
    return path


def findings_of(file: Path, **settings: object) -> list[tuple[Level, str]]:
    return [(each.level, each.seen) for each in keys_file(file, Settings(**settings))]


def test_an_open_state_folder_is_named(tmp_path: Path) -> None:
    """What does not exist yet is no problem."""
    assert state_files(tmp_path / "none").level is Level.OK
    (tmp_path / "logs").mkdir()
    tmp_path.chmod(0o700)
    assert state_files(tmp_path).level is Level.OK, "nobody gets past the folder"
    tmp_path.chmod(0o755)
    found = state_files(tmp_path)
    assert (found.level, found.seen) == (Level.WARN, f"other users can get at {tmp_path} {tmp_path / 'logs'}")
    assert "chmod go=" in found.advice
    tmp_path.chmod(0o757)
    assert state_files(tmp_path).level is Level.FAIL, "anybody could replace what is in it"


@pytest.mark.parametrize(
    ("text", "mode", "level"),
    [
        ('[kafka]\nsasl_password = "x"\n', 0o644, Level.WARN),
        ('api_key = "x"\n', 0o640, Level.WARN),
        ('[kafka]\nsasl_password = "x"\n', 0o600, None),
        ('namespace = "x"\n', 0o644, None),
        ("not TOML", 0o644, None),
        ('namespace = "x"\n', 0o664, Level.FAIL),
        ('namespace = "x"\n', 0o646, Level.FAIL),
    ],
)
def test_a_settings_file_that_others_can_read_or_change(
    text: str, mode: int, level: Level | None, tmp_path: Path
) -> None:
    """To be read by others matters if a secret is in it; to be changed by others always does."""
    path = tmp_path / "fanpulse.toml"
    path.write_text(text)
    path.chmod(mode)
    assert [each.level for each in settings_file(path)] == ([level] if level else [])


def test_a_keys_file_without_mistakes(file: Path) -> None:
    """One that cannot be used is a finding of the check of files, and not of this one."""
    assert findings_of(file) == []
    file.write_text(GOOD + GOOD)
    assert findings_of(file) == []
    file.unlink()
    assert findings_of(file) == []


def test_a_key_that_is_written_where_its_name_belongs_is_not_shown() -> None:
    with pytest.raises(KeysError) as caught:
        read_keys(GOOD.replace("poller", "The-Real-Key/Itself==").encode())
    assert "Real-Key" not in str(caught.value)


def test_keys_that_cannot_do_what_they_say(file: Path) -> None:
    """A scope beside all own accounts, actions without interactions, a key that is also without bounds."""
    file.write_text(GOOD + 'accounts = ["twitter:Gansu*"]\nkinds = ["reading"]\nactions = ["like"]\n')
    file.chmod(0o620)
    found = findings_of(
        file, own_accounts=("twitter:VisitGansu",), ingest=IngestSettings(api_key_hashes=(KEY,))
    )
    seen = " | ".join(text for _, text in found)
    assert [level for level, _ in found] == [Level.FAIL, Level.FAIL, Level.WARN, Level.FAIL]
    for part in ("can change", "api_key_hashes too", "may not write interactions", "none of own_accounts"):
        assert part in seen
    file.chmod(0o600)
    assert all(
        "none of own" not in text for _, text in findings_of(file, own_accounts=("twitter:GansuTravel",))
    )


def test_doctor_runs_all_of_them(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "none.toml"))
    settings = Settings(state_dir=tmp_path / "state", ingest=IngestSettings(keys_file=file))
    found: list[Finding] = list(access(settings))
    assert [each.subject for each in found] == ["private"]
