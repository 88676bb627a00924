"""The state file carries more than the status: what other commands must know of the running stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from fanpulse.cli import context
from fanpulse.cli.context import UnavailableError, UsageError
from fanpulse.devstack import state
from fanpulse.devstack.launched import Launched, differences
from fanpulse.devstack.lock import FileLock
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.settings import AlertsSettings, IngestSettings, KafkaSettings, Settings

ALIASES = {"GansuHeritage": ("文化和自然遗产日",), "Alone": ()}


@contextmanager
def running(settings: Settings, bootstrap: str = "127.0.0.1:1", workers: int = 1) -> Iterator[StatePaths]:
    """As if a stack of these settings ran."""
    state_paths = StatePaths.of(settings)
    supervisor = FileLock(state_paths.supervisor_lock)
    supervisor.acquire()
    state.write(
        state_paths, state.nothing_runs(settings.namespace, bootstrap), Launched.of(settings, workers)
    )
    try:
        yield state_paths
    finally:
        supervisor.release()


def test_what_a_stack_was_started_with_is_read_back(tmp_path: Path) -> None:
    """Unchanged while the supervisor lives; it is no part of the status."""
    settings = Settings(state_dir=tmp_path, hashtag_aliases=ALIASES)
    with running(settings) as state_paths:
        launched = state.launched(state_paths)
        assert launched is not None
        assert launched.hashtag_aliases == ALIASES
        assert state.read(state_paths) == state.nothing_runs("", "127.0.0.1:1")
    assert state.launched(state_paths) is None


def test_secrets_are_not_in_the_state_file(tmp_path: Path) -> None:
    """But a changed one is noticed."""
    kafka = KafkaSettings(sasl_password=SecretStr("hidden-word"))
    settings = Settings(state_dir=tmp_path, kafka=kafka)
    with running(settings) as state_paths:
        assert "hidden-word" not in state_paths.state.read_text()
        launched = state.launched(state_paths)
    assert launched is not None
    assert differences(launched, settings, 1) == []
    changed = settings.model_copy(
        update={"kafka": kafka.model_copy(update={"sasl_password": SecretStr("another-word")})}
    )
    assert differences(launched, changed, 1) == ["kafka.sasl_password has changed"]


def test_each_setting_that_differs_is_named_with_both_values(tmp_path: Path) -> None:
    """Of lists and tables too. What only commands use is no difference."""
    launched = Launched.read(Launched.of(Settings(state_dir=tmp_path), 1).as_json())
    changed = Settings(
        state_dir=tmp_path,
        ingest=IngestSettings(port=9000),
        own_accounts=("x:a",),
        api_key=SecretStr("k"),
        hashtag_aliases=ALIASES,
    )
    assert differences(launched, changed, 2) == [
        "--workers is 1 there and 2 here",
        "hashtag_aliases is {} there and {'GansuHeritage': ['文化和自然遗产日'], 'Alone': []} here",
        "ingest.port is 8080 there and 9000 here",
        "own_accounts is [] there and ['x:a'] here",
    ]


def test_a_changed_rule_file_is_a_difference(tmp_path: Path) -> None:
    """Its path is the same, its content is not."""
    rules = tmp_path / "r.toml"
    rules.write_text("[[spike]]\nname = 's'\n")
    settings = Settings(state_dir=tmp_path, alerts=AlertsSettings(rules=rules))
    launched = Launched.of(settings, 1)
    assert differences(launched, settings, 1) == []
    rules.write_text("[[spike]]\nname = 't'\n")
    assert differences(launched, settings, 1) == ["the content of alerts.rules has changed"]


def test_a_command_has_the_aliases_and_rules_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of the user: an audit of a demo recounts with what the demo counted with."""
    monkeypatch.setenv("FANPULSE_STATE_DIR", str(tmp_path))
    with running(Settings(state_dir=tmp_path, namespace="demo", hashtag_aliases=ALIASES)):
        monkeypatch.setenv("FANPULSE_ALERTS_RULES", "/the/rules/of/the/user.toml")
        monkeypatch.setenv("FANPULSE_HASHTAG_ALIASES", '{"Mine": []}')
        found = context.settings_of_a_stream("demo")
        assert found.namespace == "demo"
        assert found.kafka.bootstrap == "127.0.0.1:1"
        assert found.hashtag_aliases == ALIASES
        assert found.alerts.rules is None
        monkeypatch.setenv("FANPULSE_KAFKA_BOOTSTRAP", "elsewhere:1")
        assert set(context.settings("demo").hashtag_aliases) == {"Mine"}


def test_the_line_about_no_stack_names_those_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the option that reaches them."""
    monkeypatch.setenv("FANPULSE_STATE_DIR", str(tmp_path))
    with pytest.raises(UnavailableError, match=r"^no stack runs; start one with `fanpulse up`"):
        context.settings_of_a_stream()
    with running(Settings(state_dir=tmp_path, namespace="demo")):
        assert state.running(tmp_path) == ["demo"]
        with pytest.raises(
            UnavailableError, match=r"^no stack runs, but that of demo does; add --namespace demo$"
        ):
            context.settings_of_a_stream()
    assert state.running(tmp_path) == []
    with running(Settings(state_dir=tmp_path)), pytest.raises(UnavailableError, match=r"add --namespace ''$"):
        context.settings_of_a_stream("demo")


@pytest.mark.parametrize("name", ["Demo", "a b", "-x", "x" * 40])
def test_a_namespace_that_cannot_be_is_wrong_usage(name: str) -> None:
    """The line names the option and the form."""
    with pytest.raises(UsageError, match=r"^--namespace \(it is '.*'\) must be at most 31 lower-case"):
        context.settings(name)
