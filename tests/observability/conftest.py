"""A real Prometheus that scrapes our metrics, made by the code of the services, and evaluates our rules."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.observability.exposition import expose_everything
from tests.observability.prometheus import Prometheus

TOOLS = ("prometheus", "promtool")
ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without Prometheus on the PATH these tests are not selected; where CI is set they are, and fail."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if not missing or os.environ.get("CI"):
        return
    mine = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    items[:] = [item for item in items if item not in mine]
    config.hook.pytest_deselected(items=mine)


def pytest_report_header() -> list[str]:
    """Say what is left out, and how to have it."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if not missing:
        return []
    return [f"{' and '.join(missing)} not on the PATH: observability tests are not run (Debian: prometheus)"]


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with the configuration and rules of the repository, scraping all three services' metrics."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(ROOT / "prometheus", folder / "config")
    with expose_everything() as targets, Prometheus(folder, targets) as server:
        yield server
