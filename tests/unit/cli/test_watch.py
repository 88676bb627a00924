"""`fanpulse watch` shows a stream as the stack that counts it would, whatever its own settings say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fanpulse.board import watch as board_watch
from fanpulse.board.model import AlertLine, Board
from fanpulse.cli.app import build_app
from fanpulse.devstack import state
from fanpulse.devstack.launched import Launched
from fanpulse.devstack.lock import FileLock
from fanpulse.devstack.state_paths import StatePaths
from fanpulse.simulate.organisation import ALIASES, NAMESPACE
from schemas.hashtags import canonical
from services.runtime.settings import Settings


class FakeFeed:
    """A feed that has read one like for each hashtag of the demo."""

    def __init__(self, settings: Settings, board: Board, on_alert: Callable[[AlertLine], None]) -> None:
        self.loaded = asyncio.Event()
        self._board = board

    async def run(self) -> None:
        for name in ALIASES:
            key = f'["hashtag","{canonical(name)}"]'
            self._board.apply_total(0, key.encode(), b'{"actions":{"like":1},"last_ms":0,"offset":0}', 1)
        self.loaded.set()
        await asyncio.Event().wait()


@asynccontextmanager
async def fake_reader(settings: Settings) -> AsyncIterator[Any]:
    """A broker that has every topic."""

    class Reader:
        async def spans(self, topic: str) -> list[Any]:
            return []

    yield Reader()


@pytest.fixture
def watch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `fanpulse watch --once`; returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FANPULSE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(board_watch, "Feed", FakeFeed)
    monkeypatch.setattr(board_watch, "open_reader", fake_reader)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(build_app(), ["watch", "--once", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_hashtags_of_a_demo_have_its_display_names(watch_once: Callable[..., str], tmp_path: Path) -> None:
    """The alias groups come from the stack that runs in the namespace, as data; no setting names them."""
    state_paths = StatePaths((tmp_path / "state").absolute(), NAMESPACE)
    supervisor = FileLock(state_paths.supervisor_lock)
    supervisor.acquire()
    try:
        launched = Launched.of(Settings(hashtag_aliases=dict(ALIASES)), 1)
        state.write(state_paths, state.nothing_runs(NAMESPACE, "127.0.0.1:1"), launched)
        text = watch_once("--namespace", NAMESPACE)
    finally:
        supervisor.release()
    for name in ALIASES:
        assert f"#{name} " in text


def test_without_a_stack_the_settings_name_the_hashtags(
    watch_once: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream on another broker has the display names of the user's settings."""
    monkeypatch.setenv("FANPULSE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("FANPULSE_HASHTAG_ALIASES", '{"FuxiCEREMONY": []}')
    text = watch_once()
    assert "#FuxiCEREMONY " in text
    assert "#linxiaapricot " in text
