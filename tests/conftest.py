"""Fixtures that every test may use. The broker starts only if a test asks for it."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from fanpulse.devstack.kafka import EmbeddedKafka
from services.runtime.kafka import create_topics
from services.runtime.settings import KafkaSettings, Settings, known_variables
from tests.support.machine import MACHINE

# How long an example takes says nothing of the law it is an example of.
hypothesis.settings.register_profile("fanpulse", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("fanpulse")

_FOLDERS = {name: name for name in ("integration", "e2e", "observability", "faults")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests are marked by the folder they are in."""
    tests = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(tests):
            mark = _FOLDERS.get(item.path.relative_to(tests).parts[0])
            if mark:
                item.add_marker(mark)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """The fault suite has the machine to itself. The wait for it is no part of a test's timeout."""
    faults = item.get_closest_marker("faults") is not None
    MACHINE.hold(alone=faults)
    try:
        return (yield)
    finally:
        if not faults or nextitem is None or nextitem.get_closest_marker("faults") is None:
            MACHINE.release()


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees only the settings that it makes."""
    for name in known_variables():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A real broker, one for the whole run. Tests keep apart by namespaces; see `settings`."""
    broker = EmbeddedKafka(tmp_path_factory.mktemp("kafka"))
    asyncio.run(broker.start())
    yield broker
    asyncio.run(broker.stop())


@pytest.fixture
def settings(kafka: EmbeddedKafka, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings with a namespace of the test's own, whose topics exist, on the broker of the run."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:20].strip("-")
    settings = Settings(
        namespace=f"{words}-{uuid.uuid4().hex[:8]}",
        state_dir=tmp_path / "state",
        kafka=KafkaSettings(bootstrap=kafka.bootstrap),
    )
    asyncio.run(create_topics(settings))
    return settings
