"""A child ends when it should, whoever dies first. Real processes; no broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fanpulse.devstack.lock import FileLock, is_locked
from services.supervise.child import Child, ChildError, tail
from tests.support.processes import eventually

SLEEPER = [sys.executable, "-c", "import time; time.sleep(300)"]
#: Starts a process in its own group, prints both pids, and ignores SIGTERM.
STUBBORN_PARENT = [
    sys.executable,
    "-c",
    textwrap.dedent("""
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        print(os.getpid(), inner.pid, flush=True)
        time.sleep(300)
    """),
]

Spawn = Callable[..., Child]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Starts children that the test need not end."""
    children: list[Child] = []

    def start(command: list[str], **options: object) -> Child:
        child = Child(command, log=tmp_path / "child.log", **options)  # type: ignore[arg-type]
        children.append(child)
        return child

    yield start
    for child in children:
        child.send(-signal.SIGKILL)
        child.abandon()
        eventually(lambda child=child: child.returncode is not None, 10, "the child ends")  # type: ignore[misc]


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that nobody waits for has."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def test_its_output_is_in_the_log_and_its_status_is_known(spawn: Spawn, tmp_path: Path) -> None:
    """What the command prints on both outputs is in the log, to the last byte; its status is reported."""
    script = "import sys; print('x' * 200_000); print('end', file=sys.stderr); sys.exit(7)"
    child = spawn([sys.executable, "-c", script])
    assert await child.wait() == 7
    text = (tmp_path / "child.log").read_text()
    assert text.count("end\n") == 1
    assert text.replace("end\n", "") == "x" * 200_000 + "\n"


def test_a_command_that_cannot_be_run_is_an_error(spawn: Spawn) -> None:
    """A missing program is an error at once, with its name, and not an exit status."""
    with pytest.raises(ChildError, match="/no/such/program: No such file"):
        spawn(["/no/such/program"])


async def test_the_log_is_bounded(spawn: Spawn, tmp_path: Path) -> None:
    """A command that prints 3 MB with a bound of 100 kB leaves two files of about that size."""
    script = "for number in range(30_000): print(f'{number:099d}')"
    await spawn([sys.executable, "-c", script], log_bytes=100_000).wait()
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(tmp_path)}
    assert sorted(sizes) == ["child.log", "child.log.1"]
    assert all(size <= 100_000 + 65_536 for size in sizes.values())
    assert tail(tmp_path / "child.log", 1) == f"{29_999:099d}"


async def test_stop_asks_first(spawn: Spawn) -> None:
    """A command that ends on SIGTERM is not killed."""
    script = textwrap.dedent("""
        import signal, sys
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        print("on")
        signal.pause()
    """)
    child = spawn([sys.executable, "-u", "-c", script])
    eventually(lambda: tail(child.log) == "on", 10, "the handler is set")
    assert await child.stop(10) == 3


async def test_stop_kills_what_does_not_listen(spawn: Spawn) -> None:
    """A command that ignores SIGTERM is killed after the grace, with what it started."""
    child = spawn(STUBBORN_PARENT)
    eventually(lambda: len(tail(child.log).split()) == 2, 10, "both run")
    inner = int(tail(child.log).split()[1])
    assert await child.stop(0.2) == -signal.SIGKILL
    eventually(lambda: is_gone(inner), 5, "the inner process is gone too")


def test_a_signal_after_the_end_is_no_error(spawn: Spawn) -> None:
    """Signals to a command that has ended go nowhere, so that stopping twice is safe."""
    child = spawn([sys.executable, "-c", ""])
    eventually(lambda: child.returncode is not None, 10, "it ends")
    child.send(signal.SIGTERM)
    assert child.returncode == 0


def test_it_ends_with_its_reaper(spawn: Spawn) -> None:
    """kill -9 of the reaper ends the command."""
    child = spawn(SLEEPER)
    os.kill(child.reaper_pid, signal.SIGKILL)
    eventually(lambda: is_gone(child.pid), 5, "the command is gone")
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    """Whatever ends the parent, the command and what it started end, though they ignore SIGTERM."""
    log = tmp_path / "child.log"
    parent_script = textwrap.dedent(f"""
        import pathlib, time
        from services.supervise.child import Child
        child = Child({STUBBORN_PARENT!r}, log=pathlib.Path({str(log)!r}), grace_seconds=0.3)
        time.sleep(300)
    """)
    with subprocess.Popen([sys.executable, "-c", parent_script], stderr=subprocess.DEVNULL) as parent:
        eventually(lambda: len(tail(log).split()) == 2, 20, "both run")
        pids = [int(word) for word in tail(log).split()]
        assert not any(is_gone(pid) for pid in pids)
        parent.send_signal(number)
    eventually(lambda: all(is_gone(pid) for pid in pids), 10, "both are gone")


async def test_it_is_not_in_the_terminals_group(spawn: Spawn) -> None:
    """Ctrl-C reaches the supervisor alone: reaper and command are in sessions of their own."""
    child = spawn(SLEEPER)
    sessions = {os.getsid(0), os.getsid(child.reaper_pid), os.getsid(child.pid)}
    assert len(sessions) == 3


async def test_an_inherited_lock_is_free_when_the_command_is_gone(spawn: Spawn, tmp_path: Path) -> None:
    """A lock handed to the reaper outlives its owner and ends with the command, which does not inherit it."""
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    child = spawn(SLEEPER, inherited_fds=[lock.descriptor])
    lock.release()
    assert is_locked(lock.path)
    opened = [file.path for file in psutil.Process(child.pid).open_files()]
    assert str(lock.path) not in opened
    await child.kill()
    assert not is_locked(lock.path)
