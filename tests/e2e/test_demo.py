"""`fanpulse demo` as a user runs it: real processes, a real broker, and nothing left at the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from fanpulse.devstack import state
from fanpulse.devstack.state_paths import StatePaths
from fanpulse.simulate.ceremony import MOMENTS
from fanpulse.simulate.organisation import MINUTE_MS, START_MS
from fanpulse.simulate.scenario import Scenario
from schemas.alerts import ALERT, Spike
from schemas.topics import ALERTS, EVENTS, qualified
from services.runtime.settings import KafkaSettings, Settings
from services.runtime.topic_scan import Record, read_topic
from tests.support.processes import Service, eventually

KEYS = {
    "sent", "accepted", "rejected", "duplicates", "counted", "milestones", "spikes", "exact", "seconds",
    "verdict", "good", "problems", "notes", "resent", "retries",
}  # fmt: skip
#: When a moment of the ceremony begins, as the board writes it.
SPIKES = ["09:41:00", "09:54:00", "10:07:00"]
FINALE_MS = START_MS + MOMENTS[-1].minute * MINUTE_MS
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

    def stack(self) -> dict[str, Any]:
        """What the supervisor last wrote about the stack. Much faster than `status`, which asks everyone."""
        found = state.read(StatePaths(self.state, "demo"))
        assert found is not None, f"nothing runs:\n{self.output[-3000:]}"
        return found

    def seen(self) -> float:
        """Events that the aggregator has seen, duplicates included."""
        metrics = Service.metrics_of(self.stack()["aggregate"][0]["metrics"].removesuffix("/metrics"))
        names = ("fanpulse_events_counted_total{", "fanpulse_duplicate_events_total{")
        return sum(value for name, value in metrics.items() if name.startswith(names))

    def stop_alerts(self) -> None:
        """Stop the alert service where it is, also one that the supervisor has started in its place."""
        for entry in self.stack()["alerts"]:
            if entry["pid"] is not None and psutil.pid_exists(entry["pid"]):
                os.kill(entry["pid"], signal.SIGSTOP)

    def resume_alerts(self) -> None:
        for entry in self.stack()["alerts"]:
            if entry["pid"] is not None and psutil.pid_exists(entry["pid"]):
                os.kill(entry["pid"], signal.SIGCONT)

    def topic(self, name: str) -> list[Record]:
        """Everything in a topic of the demo."""
        settings = Settings(
            namespace="demo", kafka=KafkaSettings(bootstrap=self.stack()["kafka"]["bootstrap"])
        )
        return asyncio.run(read_topic(settings, qualified("demo", name)))

    def spikes(self) -> list[Spike]:
        """Spikes that have been decided, the earliest first."""
        alerts = [ALERT.validate_json(record.value) for record in self.topic(ALERTS.name) if record.value]
        return sorted(
            (alert for alert in alerts if isinstance(alert, Spike)), key=lambda spike: spike.occurred_at
        )

    def shown_spikes(self) -> list[str]:
        """Times of the spikes in the output."""
        return sorted(line.split()[0] for line in self.output.splitlines() if " UTC  SPIKE  " in line)

    def pid(self, service: str) -> int:
        found = self.status()
        assert found is not None
        entry = found[service] if service == "kafka" else found[service][0]
        return int(entry["pid"])

    def played(self, clock: str) -> bool:
        """Whether the last summary is of this event time or a later one."""
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
    report = check_report(demo)
    assert not demo.left_running()
    return report


def check_report(demo: Demo) -> dict[str, Any]:
    """Every figure of the report is the scenario's, and the output has the verdict and each spike once."""
    report, expected = demo.report, Scenario().expected
    assert report.keys() == KEYS
    assert (report["sent"], report["accepted"]) == (expected.sent, expected.accepted)
    assert report["rejected"] == expected.rejected
    assert (report["duplicates"], report["counted"]) == (expected.duplicates, expected.counted)
    assert (report["exact"], report["good"], report["problems"]) == (True, True, [])
    assert report["spikes"] == 3
    assert report["milestones"] >= 20
    assert "VERDICT AGREES" in demo.output
    assert demo.shown_spikes() == SPIKES
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
        assert demo.status() is None


@pytest.mark.timeout(400)
def test_a_spike_that_is_decided_after_the_last_event_is_shown(tmp_path: Path) -> None:
    """The alert service is stopped from the first events on until the last event has been counted. Then it
    goes on, and decides the spike of the finale, which the demo shows and counts."""
    accepted = Scenario().expected.accepted
    with Demo(tmp_path, "--speed", "600") as demo:
        eventually(lambda: " events counted " in demo.output, END_SECONDS, "the first events counted")

        def all_is_counted_without_alerts() -> bool:
            demo.stop_alerts()
            return demo.seen() >= accepted

        eventually(all_is_counted_without_alerts, END_SECONDS, "the last event counted")
        sent_at_ms = [record.timestamp_ms for record in demo.topic(EVENTS.name) if is_of_events(record)]
        assert FINALE_MS not in [spike.occurred_at for spike in demo.spikes()]
        demo.resume_alerts()
        eventually(lambda: "The stack stays up" in demo.output, END_SECONDS, "the end of the play")
        finale = demo.spikes()[-1]
        assert finale.occurred_at == FINALE_MS
        assert finale.decided_at > max(sent_at_ms)
        check_report(demo)
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130


def is_of_events(record: Record) -> bool:
    """Whether a record of the log has events, and is no clock record."""
    return b'"event_id"' in (record.value or b"")


@pytest.mark.timeout(480)
def test_kill_9_of_each_service_costs_nothing(tmp_path: Path) -> None:
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
    """Without --once the addresses of all services are printed, the services are ready, the board can be
    watched, a second demo says that one runs already, and Ctrl-C ends the first."""
    with Demo(tmp_path, "--speed", "0", "--minutes", "15") as demo:
        eventually(lambda: "The stack stays up" in demo.output, END_SECONDS, "the end of the play")
        assert demo.process.poll() is None
        assert demo.ready()
        found = demo.stack()
        urls = [found["ingest"][0]["url"], found["aggregate"][0]["metrics"], found["alerts"][0]["metrics"]]
        eventually(lambda: "fanpulse watch --namespace demo" in demo.output, 10, "the last address")
        end = demo.output.partition("The stack stays up")[2]
        assert [url for url in [*urls, found["kafka"]["bootstrap"]] if url not in end] == []
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
