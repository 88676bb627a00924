"""No command prints a secret, whatever mistake is made with the setting that should hold it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr

from fanpulse.cli import output
from fanpulse.cli.run import run
from services.runtime.redaction import is_secret_name
from services.runtime.settings import (
    Section,
    Settings,
    SettingsError,
    load_settings,
    variable_name,
)

HIDDEN = "hunter2-Zq9!"
COMMANDS = (
    ["doctor"],
    ["status"],
    ["status", "--format", "json"],
    ["totals"],
    ["alerts"],
    ["audit"],
    ["stream", "show"],
    ["dead-letters", "list"],
    ["watch", "--once"],
    ["load", "events.csv"],
    ["up"],
    ["serve", "ingest"],
    ["serve", "aggregate"],
    ["serve", "alerts"],
)


def secrets() -> list[tuple[str | None, str]]:
    """(section, key) of every setting that holds a secret, by its type or by its name."""
    found = []
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            fields = {(name, key): each.annotation for key, each in kind.model_fields.items()}
        else:
            fields = {(None, name): kind}
        found += [
            place
            for place, annotation in fields.items()
            if SecretStr in (annotation, *get_args(annotation)) or is_secret_name(place[1])
        ]
    return found


def misspelt(key: str) -> list[str]:
    """The key with two letters changed over, one left out, and in capitals."""
    return [
        key[:-3] + key[-2] + key[-3] + key[-1],
        key[:-1],
        key + "s",
        key.replace("_", ""),
        key.upper() + "_",
    ]


def toml(section: str | None, key: str, value: str) -> str:
    return f"[{section}]\n{key} = {value}\n" if section else f"{key} = {value}\n"


def mistakes(section: str | None, key: str) -> dict[str, tuple[dict[str, str], str]]:
    """Name of a mistake -> (variables, text of the settings file)."""
    text = json.dumps(HIDDEN)
    made: dict[str, tuple[dict[str, str], str]] = {}
    for wrong in misspelt(key):
        made[f"variable {wrong}"] = ({variable_name(section, wrong): HIDDEN}, "")
        made[f"key {wrong}"] = ({}, toml(section, wrong, text))
    made["list"] = ({}, toml(section, key, f"[[{text}]]"))
    made["table"] = ({}, toml(section, key, f"{{ value = {text} }}"))
    made["section misspelt"] = ({}, toml(f"{section or 'x'}s", key, text))
    made["not closed"] = ({}, toml(section, key, text[:-1]))
    made["without quotes"] = ({}, toml(section, key, HIDDEN))
    made["twice"] = ({}, toml(section, key, text) + f"{key} = {text}\n")
    if section:
        made["section is the secret"] = ({}, f"{section} = {text}\n")
        made["section is a list"] = ({}, f"[[{section}]]\n{key} = {text}\n")
        made["section as a variable"] = ({f"FANPULSE_{section.upper()}": HIDDEN}, "")
        made["section as JSON"] = ({f"FANPULSE_{section.upper()}": json.dumps({f"{key}x": HIDDEN})}, "")
        made["at the top"] = ({}, toml(None, key, text))
        made["two underscores"] = ({f"FANPULSE_{section.upper()}__{key.upper()}": HIDDEN}, "")
    return made


CASES = [
    pytest.param(*mistake, id=f"{section or ''}.{key}: {name}")
    for section, key in secrets()
    for name, mistake in mistakes(section, key).items()
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; its settings file is what counts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(output, "install", lambda: None)  # it would replace what pytest reads
    monkeypatch.setenv("FANPULSE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def test_every_secret_is_among_those_that_are_tried() -> None:
    """Settings are found by type and by name; these are there at the least."""
    assert {
        ("kafka", "sasl_password"),
        ("ingest", "actor_key"),
        ("ingest", "api_key_hashes"),
        ("alerts", "webhook_secret"),
        ("alerts", "webhook_url"),
        (None, "api_key"),
    } <= set(secrets())


@pytest.mark.parametrize(("variables", "file"), CASES)
def test_a_mistake_with_a_secret_does_not_show_it(
    variables: dict[str, str],
    file: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two commands each, in turn, so that all meet many mistakes; and the error itself, with its causes."""
    (place / "fanpulse.toml").write_text(file, "utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for command in next(_turns):
        code = run(command)
        said = "".join(capsys.readouterr())
        assert (code, said.count("\n")) == (2, 1), said
        assert "hunter2" not in said
    with pytest.raises(SettingsError) as caught:
        load_settings()
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__


_turns = itertools.cycle(list(zip(COMMANDS[::2], COMMANDS[1::2], strict=True)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_fails_without_the_value(
    command: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the worst mistakes, through each command: a table where a text belongs."""
    (place / "fanpulse.toml").write_text(f'[[alerts]]\nwebhook_url = "https://h/{HIDDEN}"\n', "utf-8")
    assert run(command) == 2
    assert "hunter2" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(("section", "key"), secrets())
def test_a_secret_of_the_right_kind_that_cannot_be_used_is_not_shown(
    section: str | None,
    key: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Too short, no base64, no hash, no address: the services say so without the value, at debug too."""
    for other in ("FANPULSE_ALERTS_WEBHOOK_URL", "FANPULSE_ALERTS_WEBHOOK_SECRET"):
        monkeypatch.setenv(other, f"http://h:{HIDDEN}/x")
    value = json.dumps([HIDDEN]) if key.endswith("_hashes") else HIDDEN
    monkeypatch.setenv(variable_name(section, key), value)
    monkeypatch.setenv("FANPULSE_LOG_LEVEL", "debug")
    monkeypatch.setenv("FANPULSE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    from services.alerts.delivery.webhook import make_webhook
    from services.ingest.http.auth import check_access
    from services.runtime.pseudonym_key import actor_key

    settings = load_settings()
    for use in (actor_key, check_access, lambda each: make_webhook(each.alerts, lambda: None)):
        said = ""
        try:
            use(settings)
        except SettingsError as error:
            said = f"{error} {error.__cause__}"
        assert "hunter2" not in said
    for command in (["doctor"], ["status", "--format", "json"]):
        run(command)
        assert "hunter2" not in "".join(capsys.readouterr())


def test_a_defect_is_recorded_without_the_secrets(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's error may have an address or a request in it."""
    from fanpulse.cli.endings import ending

    monkeypatch.setenv("FANPULSE_ALERTS_WEBHOOK_URL", f"https://hooks.example/services/T0/{HIDDEN}")
    monkeypatch.setenv("FANPULSE_KAFKA_SASL_PASSWORD", "secret of the broker")
    load_settings()
    error = RuntimeError(f"POST /services/T0/{HIDDEN} with b'\\x00u\\x00secret of the broker'")
    ending(error, ["totals"])
    recorded = (place / "state" / "logs" / "errors.log").read_text("utf-8")
    assert "RuntimeError: POST ***" in recorded
    assert "hunter2" not in recorded
    assert "secret of the broker" not in recorded
