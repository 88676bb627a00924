"""Settings that cannot be used are rejected in one line: which one, where it was set, and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.settings import CONFIG_VARIABLE, SettingsError, load_settings

ALIASES = '[hashtag_aliases]\n"A" = ["b"]\n"C" = ["B"]\n'


def said_of(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The line for a settings file with this text."""
    file = folder / "fanpulse.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    monkeypatch.chdir(folder)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_an_unknown_key_is_named_and_its_value_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key may be a misspelt secret, so only its name is printed, and the name that was meant."""
    said = said_of('[alerts]\nwebhook_secet = "whsec_hidden"\n', tmp_path, monkeypatch)
    assert said == (
        "alerts.webhook_secet (fanpulse.toml line 2) is not a setting; did you mean webhook_secret?; "
        "see docs/settings.md for the names"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[ingest]\nport = 99999",
            "ingest.port (fanpulse.toml line 2) (it is 99999): must be at most 65,535",
        ),
        ('[ingest]\nport = "x"', "must be a whole number"),
        ('log_level = "warn"', "must be one of debug, info, warning, error; did you mean warning?"),
        ("[ingets]\nport = 1", "ingets (fanpulse.toml line 1) is not a setting; did you mean ingest?"),
        ("[ingest]\nmax_quantities = { likes = 3 }", "'likes' is not an action"),
        (ALIASES, "#b is in two alias groups: a and c"),
        ('[hashtag_aliases]\nA = ["b c"]', "a hashtag has no white space"),
        ("port = \n", "fanpulse.toml line 1 is not TOML: Invalid value"),
        ("x = " + "[" * 5000, "fanpulse.toml is"),
        ("x = '\udcff'", "fanpulse.toml is not UTF-8 (byte 5)"),
        ('state_dir = "a\\u0000b"', "state_dir has a null character"),
        ("[kafka]\nsasl_password = 5", "kafka.sasl_password (fanpulse.toml line 2): must be text"),
    ],
)
def test_a_wrong_file_is_one_line_in_the_words_of_the_user(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File and line, what is wrong, and what is allowed."""
    line = said_of(text, tmp_path, monkeypatch)
    assert said in line
    for word in ("Value error", "Input should", "type=", "pydantic", "[type"):
        assert word not in line


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FANPULSE_INGEST_PORT", "high", "FANPULSE_INGEST_PORT (it is 'high'): must be a whole number"),
        ("FANPULSE_INGEST_PROT", "1", "is not a setting; did you mean FANPULSE_INGEST_PORT?"),
        ("FANPULSE_OWN_ACCOUNTS", "twitter:a", "FANPULSE_OWN_ACCOUNTS must be a list as JSON"),
        ("FANPULSE_HASHTAG_ALIASES", "[1]", "FANPULSE_HASHTAG_ALIASES must be a table as JSON"),
        (
            "FANPULSE_INGEST_CORS_ORIGINS",
            "[" * 100_000,
            "FANPULSE_INGEST_CORS_ORIGINS must be a list as JSON",
        ),
        ("FANPULSE_ALERTS_TERMINAL", "perhaps", "must be true or false"),
        ("FANPULSE_LOG_LEVEL", "WARN" * 1000, "…"),
        ("FANPULSE_KAFKA_SASL_MECHANISM", "SCRAM", "must be one of PLAIN, SCRAM-SHA-256"),
    ],
)
def test_a_wrong_variable_is_named_as_it_was_set(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line begins with the variable, and is short however long the value is."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    line = str(caught.value)
    assert line.startswith(name)
    assert said in line
    assert len(line) < 400
    assert "\n" not in line


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in its place too."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path))
    with pytest.raises(SettingsError, match=f"{CONFIG_VARIABLE} names {tmp_path}, which is not a file"):
        load_settings()
