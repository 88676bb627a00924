"""The disk of the state folder fills up while the stack runs: it says so, and nothing is lost."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import eventually
from tests.support.user import Machine

ROWS = 3000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 MB, which only root can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def machine(small_disk: Path) -> Iterator[Machine]:
    """A machine whose state is on the small disk."""
    machine = Machine(small_disk)
    yield machine
    (small_disk / "filler").unlink(missing_ok=True)
    machine.run("down")
    eventually(lambda: not machine.processes(), 60, "everything of the test has ended")


def fill(disk: Path) -> Path:
    """Take all space that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


def likes(machine: Machine) -> int:
    """What has been counted; -1 if it cannot be read now."""
    result = machine.run("totals", "--format", "json")
    if result.returncode:
        return -1
    return sum(row["total"] for row in json.loads(result.stdout)["accounts"])


def assert_told(result: subprocess.CompletedProcess[str], codes: tuple[int, ...]) -> None:
    """A documented exit code and no traceback."""
    assert result.returncode in codes, result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.timeout(600)
def test_a_full_disk_is_told_and_nothing_is_lost(machine: Machine, small_disk: Path, tmp_path: Path) -> None:
    """`status`, `doctor` and the log of the stack name the folder; the supervisor lives; a load ends in one
    line, and once there is room again the same command loads the rest. Every row counts once."""
    assert machine.run("up", "--detach").returncode == 0
    supervisor, folder = machine.supervisor(), small_disk / "fanpulse"
    rows = tmp_path / "likes.csv"
    lines = [
        f"2026-06-22T09:{index // 60 % 60:02}:{index % 60:02}Z,x,a,like,p{index}" for index in range(ROWS)
    ]
    rows.write_text("occurred_at,platform,account,action,post_id\n" + "\n".join(lines) + "\n")
    filler = fill(small_disk)

    def said() -> bool:
        return f"the disk of {folder} is full" in (folder / "logs/default/supervisor.log").read_text()

    load = ("load", str(rows), "--kind", "interaction", "--batch", "100", "--patience", "3")
    first = machine.run(*load)
    assert_told(first, (0, 3))
    status = machine.run("status")
    assert_told(status, (0,))
    assert re.search(rf"^state in {folder}, \d+ MB free$", status.stdout, re.MULTILINE)
    assert f"the disk of {folder} is full" in status.stdout
    doctor = machine.run("doctor")
    assert_told(doctor, (1,))
    assert re.search(r" \d+ MB free for the state folder", doctor.stdout)
    exported = machine.run("export", str(small_disk / "export"))
    assert_told(exported, (1, 2, 3))
    filler.unlink()
    eventually(lambda: machine.run("status").stdout.count("ready") >= 4, 120, "all is ready again")
    eventually(said, 5, "the log of the stack says that the disk was full")
    again = machine.run(*load[:-2])
    assert_told(again, (0,))
    eventually(lambda: likes(machine) == ROWS, 60, "every row counts once")
    assert machine.supervisor() == supervisor
    assert "Traceback" not in (folder / "logs/default/supervisor.err.log").read_text()
    audit = machine.run("audit")
    assert audit.stdout.rstrip().endswith("VERDICT: AGREES"), audit.stdout
