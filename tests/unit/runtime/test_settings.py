"""A settings file that cannot be used is rejected in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.settings import CONFIG_VARIABLE, SettingsError, load_settings


def test_an_unknown_key_is_named_and_its_value_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key may be a misspelt secret, so only its name is printed, and where to look it up."""
    file = tmp_path / "fanpulse.toml"
    file.write_text('[alerts]\nwebhook_secet = "whsec_hidden"\n', "utf-8")
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == "alerts.webhook_secet is not a setting; see docs/settings.md for the names"
