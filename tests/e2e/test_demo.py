"""`fanpulse demo` as a user runs it: real processes, a real broker, and nothing left at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from fanpulse.simulate.scenario import Scenario
from tests.support.processes import eventually

KEYS = {"sent", "accepted", "rejected", "duplicates", "counted", "milestones", "spikes", "exact", "seconds"}
SERVICES = ("ingest", "aggregate", "alerts")
READY_SECONDS = 90
END_SECONDS = 240


class Demo:
    """A demo in a process and a state folder of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.state = folder / "state"
        self.report_file = folder / "report.json"
        self.output_file = folder / "output.txt"
        self._arguments = ("demo", "--report", str(self.report_file), *arguments)
        self.environment = {**os.environ, "FANPULSE_STATE_DIR": str(self.state)}

    def __enter__(self) -> Self:
        with self.output_file.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fanpulse", *self._arguments],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    @property
    def output(self) -> str:
        return self.output_file.read_text(errors="replace")

    @property
    def report(self) -> dict[str, Any]:
        report = json.loads(self.report_file.read_text())
        assert isinstance(report, dict)
        return report

    def wait(self, seconds: float = END_SECONDS) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not over after {seconds} s:\n{self.output[-3000:]}") from None

    def fanpulse(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Another command with the same state folder."""
        return subprocess.run(
            [sys.executable, "-m", "fanpulse", *arguments],
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def status(self) -> dict[str, Any] | None:
        """What `fanpulse status` says; None if nothing runs."""
        answer = self.fanpulse("status", "--format", "json", FANPULSE_NAMESPACE="demo")
        return json.loads(answer.stdout) if answer.returncode == 0 else None

    def ready(self) -> bool:
        """Whether every service does its job."""
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output[-3000:]}"
        found = self.status()
        if not found:
            return False
        entries = [found["kafka"], *(entry for name in SERVICES for entry in found[name] or [{}])]
        return all(entry.get("health") == "ready" for entry in entries)

    def wait_ready(self) -> None:
        eventually(self.ready, READY_SECONDS, "the demo's services ready")

    def pid(self, service: str) -> int:
        found = self.status()
        assert found is not None
        entry = found[service] if service == "kafka" else found[service][0]
        return int(entry["pid"])

    def played(self, clock: str) -> bool:
        """Whether the last summary tells of this event time or a later one."""
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output[-3000:]}"
        times = [line[:5] for line in self.output.splitlines() if " events counted " in line]
        return bool(times) and times[-1] >= clock

    def left_running(self) -> list[str]:
        """Processes that name the state folder."""
        left = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            command = " ".join(process.info["cmdline"] or ())
            variables = process.info["environ"] or {}
            if str(self.state) in command or variables.get("FANPULSE_STATE_DIR") == str(self.state):
                left.append(command)
        return left


def check_good(demo: Demo, code: int) -> dict[str, Any]:
    """Exit status, report, output, and no process left."""
    assert code == 0, demo.output[-3000:]
    report, expected = demo.report, Scenario().expected
    assert report.keys() >= KEYS
    assert (report["sent"], report["accepted"]) == (expected.sent, expected.accepted)
    assert report["rejected"] == expected.rejected
    assert (report["duplicates"], report["counted"]) == (expected.duplicates, expected.counted)
    assert report["exact"] is True
    assert report["spikes"] == 3
    assert report["milestones"] >= 20
    assert "VERDICT" in demo.output
    assert not demo.left_running()
    return report


@pytest.mark.timeout(300)
def test_a_demo_ends_with_a_good_verdict_and_leaves_nothing(tmp_path: Path) -> None:
    """`--once` plays everything through ingest, audits it, writes the report and stops all it started.

    A second demo does not add to the first one's totals, and the output has no terminal codes in a file.
    """
    for _ in range(2):
        with Demo(tmp_path, "--once", "--speed", "600") as demo:
            report = check_good(demo, demo.wait())
        assert report["retries"] == report["resent"] == 0
        assert "\x1b" not in demo.output
        assert demo.output.count("SPIKE") == 3
        assert demo.status() is None


@pytest.mark.timeout(240)
def test_a_spike_that_is_decided_after_the_last_event_is_told(tmp_path: Path) -> None:
    """The alert service stands still through the last moment and the end of the play, and then goes on."""
    with Demo(tmp_path, "--once", "--speed", "600") as demo:
        eventually(lambda: demo.output.count("SPIKE") >= 2, END_SECONDS, "the spikes before the last one")
        pid = demo.pid("alerts")
        os.kill(pid, signal.SIGSTOP)
        time.sleep(8)  # not to wait for anything: what is left of the play takes four seconds
        os.kill(pid, signal.SIGCONT)
        check_good(demo, demo.wait())
        assert demo.output.count("SPIKE") == 3


@pytest.mark.timeout(480)
def test_kill_9_of_each_service_in_turn_costs_nothing(tmp_path: Path) -> None:
    """Ingest, aggregate, alerts and Kafka are killed while events come; the verdict is still good."""
    with Demo(tmp_path, "--once", "--speed", "60") as demo:
        for service, clock in (
            ("ingest", "08:40"),
            ("aggregate", "09:00"),
            ("alerts", "09:18"),
            ("kafka", "09:34"),
            ("ingest", "09:56"),
        ):
            # The demo need not wait for what comes back after the last kill: then its end says enough.
            demo.wait_ready()
            eventually(lambda clock=clock: demo.played(clock), END_SECONDS, f"event time {clock}")  # type: ignore[misc]
            pid = demo.pid(service)
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: not psutil.pid_exists(pid), 10, f"{service} ends")  # type: ignore[misc]
        report = check_good(demo, demo.wait())
    assert report["retries"] > 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_can_be_interrupted(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C or SIGTERM in the middle: everything stops, and the exit code says so."""
    with Demo(tmp_path, "--speed", "60") as demo:
        demo.wait_ready()
        eventually(lambda: demo.played("08:32"), READY_SECONDS, "the first events counted")
        demo.process.send_signal(number)
        assert demo.wait(60) == code, demo.output[-3000:]
        assert not demo.left_running()


@pytest.mark.timeout(240)
def test_the_stack_of_a_demo_stays_up_to_be_looked_at(tmp_path: Path) -> None:
    """Without --once the addresses are printed and answer, the board can be watched, a second demo is told
    that one runs, and Ctrl-C ends it."""
    with Demo(tmp_path, "--speed", "0", "--minutes", "15") as demo:
        eventually(lambda: "The stack stays up" in demo.output, END_SECONDS, "the end of the play")
        assert demo.process.poll() is None
        assert demo.ready()
        board = demo.fanpulse("watch", "--once", "--namespace", "demo")
        assert board.returncode == 0, board.stderr
        assert "#FuxiCeremony" in board.stdout
        assert f"{demo.report['counted']:,} events" in board.stdout
        second = demo.fanpulse("demo", "--once")
        assert second.returncode == 4
        assert "a demo is already running" in second.stderr
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130
        assert not demo.left_running()
