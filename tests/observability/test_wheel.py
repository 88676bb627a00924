"""The wheel holds all it needs: installed elsewhere, it runs the whole stack with Prometheus."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as docs/operations.md builds it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_the_files_of_prometheus_and_grafana(wheel: Path) -> None:
    """All that the repository has for them, and nothing at the top but the three packages."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    wanted = [
        f"fanpulse/devstack/files/{file.relative_to(ROOT)}"
        for folder in ("prometheus/rules", "grafana/dashboards", "grafana/provisioning")
        for file in (ROOT / folder).rglob("*")
        if file.is_file()
    ]
    assert len(wanted) >= 6
    assert set(wanted) <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fanpulse", "schemas", "services"}


class Installed:
    """The wheel in an environment of its own, whose dependencies are those of the tests."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        self._pip("install", "--quiet", "--no-deps", "--no-index", str(wheel))
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        # A path in a .pth file: the .pth files in there, such as that of the clone, are not read.
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def _pip(self, *arguments: str) -> None:
        subprocess.run([str(self.python), "-m", "pip", *arguments], check=True, capture_output=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the installed `fanpulse` somewhere else."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("FANPULSE_", "PYTHON"))
        }
        return subprocess.run(
            [str(self.folder / "venv" / "bin" / "fanpulse"), *arguments],
            env={**kept, "XDG_STATE_HOME": str(self.folder), "NO_COLOR": "1", "COLUMNS": "200"},
            cwd=self.folder, capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip


@pytest.mark.timeout(400)
def test_the_wheel_runs_the_stack_with_prometheus_and_its_rules(wheel: Path, tmp_path: Path) -> None:
    """`--version`, `doctor`, `up --detach`, `status` and `down`; Prometheus has our rules and scrapes us."""
    installed = Installed(wheel, tmp_path)
    imported = subprocess.run(
        [str(installed.python), "-I", "-c", "import fanpulse; print(fanpulse.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(imported.stdout.strip()).is_relative_to(tmp_path)
    version = installed.run("--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "fanpulse")
    doctor = installed.run("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert f"prometheus   {shutil.which('prometheus')}" in doctor.stdout
    try:
        up = installed.run("up", "--detach")
        assert up.returncode == 0, up.stderr
        status = json.loads(installed.run("status", "--format", "json").stdout)
        url = status["prometheus"]["url"]
        with urllib.request.urlopen(f"{url}/api/v1/rules", timeout=30) as answer:
            assert len(json.load(answer)["data"]["groups"]) >= 2

        def scraped() -> bool:
            with urllib.request.urlopen(f"{url}/api/v1/targets", timeout=30) as answer:
                targets = json.load(answer)["data"]["activeTargets"]
            return len(targets) >= 3 and all(target["health"] == "up" for target in targets)

        eventually(scraped, 90, "Prometheus scrapes all services")
    finally:
        down = installed.run("down")
    assert (down.returncode, "is down" in down.stdout) == (0, True)


def test_an_installation_without_the_files_does_not_blame_the_path(wheel: Path, tmp_path: Path) -> None:
    """Prometheus is there; what is missing is a part of fanpulse."""
    installed = Installed(wheel, tmp_path)
    (packaged,) = (tmp_path / "venv" / "lib").glob("python*/site-packages/fanpulse/devstack/files")
    shutil.rmtree(packaged)
    line = next(line for line in installed.run("doctor").stdout.splitlines() if "prometheus" in line)
    assert "its rules are missing from this installation" in line
    assert "PATH" not in line
