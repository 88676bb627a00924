"""The small parts of the local stack: delays, ports, locks, state, settings as variables, lines."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from rich.text import Text

from fanpulse.devstack import monitoring, state
from fanpulse.devstack.console_reporter import line
from fanpulse.devstack.launched import Launched
from fanpulse.devstack.lock import FileLock, LockedError, is_locked
from fanpulse.devstack.ports import Ports, PortTakenError
from fanpulse.devstack.services import ServiceProcesses
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.settings import (
    AggregateSettings,
    IngestSettings,
    KafkaSettings,
    Settings,
    StackSettings,
    load_settings,
)
from services.supervise.addresses import is_free
from services.supervise.backoff import Backoff
from services.supervise.environment import as_environment
from services.supervise.events import EventType, StackEvent
from tests.support.ports import free_port

PROMETHEUS = Path(__file__).parents[3] / "prometheus"


def test_delays_double_up_to_a_limit() -> None:
    """A process that keeps dying is started after 0.2, 0.4, ... seconds, never later than after 10."""
    backoff = Backoff()
    delays = [backoff.after(0.0) for _ in range(8)]
    assert delays == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0])


def test_delays_start_over_after_a_good_run() -> None:
    """After a run of half a minute the next delay is the first one again."""
    backoff = Backoff()
    for _ in range(5):
        backoff.after(1.0)
    assert backoff.after(30.0) == pytest.approx(0.2)


def test_ports_are_remembered(tmp_path: Path) -> None:
    """The same names get the same ports again, and different names different ones."""
    first = Ports(tmp_path / "ports.json").choose("a", "b")
    again = Ports(tmp_path / "ports.json").choose("b", "a", "c")
    assert {name: again[name] for name in ("a", "b")} == first
    assert len(set(again.values())) == 3


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    """Another process on a remembered port costs the address, not the start; the new one is remembered."""
    ports = Ports(tmp_path / "ports.json")
    old = ports.choose("a")["a"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", old))
        other.listen()
        new = ports.choose("a")["a"]
    assert new != old
    assert ports.choose("a")["a"] == new


def test_a_port_that_is_set_is_used_or_an_error(tmp_path: Path) -> None:
    """A port from the settings is used as it is; if somebody else has it, the error names it."""
    ports = Ports(tmp_path / "ports.json")
    wanted = ports.choose("a")["a"]
    assert ports.choose("b", fixed={"b": wanted}) == {"b": wanted}
    with socket.socket() as other:
        other.bind(("127.0.0.1", wanted))
        other.listen()
        assert not is_free(wanted)
        with pytest.raises(PortTakenError, match=f"port {wanted} for b is taken"):
            ports.choose("b", fixed={"b": wanted})


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": "x", "b": 70000}'])
def test_an_unreadable_file_of_ports_is_replaced(tmp_path: Path, content: str) -> None:
    """A damaged file means new ports."""
    path = tmp_path / "ports.json"
    path.write_text(content)
    assert Ports(path).choose("a")["a"] == json.loads(path.read_text())["a"]


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    """A second taker gets an error until the first lets go; the wait is reported once."""
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire()
    waits: list[int] = []
    with pytest.raises(LockedError):
        second.acquire(wait_seconds=0.3, on_wait=lambda: waits.append(1))
    assert waits == [1]
    assert is_locked(first.path)
    first.release()
    assert not is_locked(first.path)
    second.acquire()
    second.release()


def test_the_state_of_a_dead_supervisor_is_not_believed(tmp_path: Path) -> None:
    """A state file counts only while its supervisor holds the lock: its pids may belong to others by now."""
    state_paths = StatePaths(tmp_path, "default")
    status = state.nothing_runs("", "127.0.0.1:1")
    lock = FileLock(state_paths.supervisor_lock)
    lock.acquire()
    state.write(state_paths, status, Launched.of(Settings(), 1))
    assert state.read(state_paths) == status
    assert state.supervisor_pid(state_paths) == os.getpid()
    lock.release()
    assert state.read(state_paths) is None
    assert state.supervisor_pid(state_paths) is None


def test_a_service_sees_the_settings_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings passed as variables come out the same: numbers, lists, tables, secrets, Chinese."""
    settings = Settings(
        namespace="demo",
        kafka=KafkaSettings(bootstrap="127.0.0.1:9092", sasl_password="hush"),
        ingest=IngestSettings(clock="event", vip_actors=("twitter:1", "facebook:王")),
        aggregate=AggregateSettings(session_timeout_seconds=9.5),
        hashtag_aliases={"GansuHeritage": ("文化和自然遗产日",)},
    )
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_services_keep_a_port_that_is_set(tmp_path: Path) -> None:
    """Ports that the settings give are used, further workers take the next ones; the others are chosen."""
    base = free_port()
    while not is_free(base + 1):
        base = free_port()
    settings = Settings(
        state_dir=tmp_path,
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"),
        ingest=IngestSettings(clock="event"),
        aggregate=AggregateSettings(metrics_port=base),
    )
    processes = ServiceProcesses(settings, extra_env={}, inherited_fds=(), workers=2).all()
    described = {process.name: process.describe() for process in processes}
    assert list(described) == ["ingest", "aggregate", "aggregate-2", "alerts"]
    assert described["aggregate"] == {"metrics": f"http://127.0.0.1:{base}/metrics"}
    assert described["aggregate-2"] == {"metrics": f"http://127.0.0.1:{base + 1}/metrics"}
    chosen = Ports(StatePaths(tmp_path, "default").ports).remembered()
    assert described["ingest"]["url"] == f"http://127.0.0.1:{chosen['ingest']}"
    assert described["alerts"] == {"metrics": f"http://127.0.0.1:{chosen['alerts']}/metrics"}
    assert chosen.keys() == described.keys()
    assert len(set(chosen.values())) == 4


def test_prometheus_scrapes_every_worker(tmp_path: Path) -> None:
    """Our rules and configuration are beside a file of targets for each service."""
    state_paths = StatePaths(tmp_path, "default")
    settings = Settings(state_dir=tmp_path, kafka=KafkaSettings(bootstrap="127.0.0.1:1"))
    processes = ServiceProcesses(settings, extra_env={}, inherited_fds=(), workers=2).all()
    monitoring.prometheus_process("prometheus", state_paths, StackSettings(), processes, ())
    targets = {
        path.stem: json.loads(path.read_text())[0]["targets"]
        for path in (state_paths.prometheus / "targets").glob("*.json")
    }
    ingest, *aggregate, alerts = (process.url.removeprefix("http://") for process in processes)
    assert targets == {"ingest": [ingest], "aggregate": aggregate, "alerts": [alerts]}
    assert len(aggregate) == 2
    for copied, original in (
        (state_paths.prometheus / "prometheus.yml", PROMETHEUS / "prometheus.yml"),
        *((state_paths.prometheus / "rules" / path.name, path) for path in (PROMETHEUS / "rules").iterdir()),
    ):
        assert copied.read_bytes() == original.read_bytes()


def test_grafana_gets_our_dashboards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Grafana laid out as in its tarball is found, and started for viewers on this machine."""
    home = tmp_path / "grafana-12"
    (home / "bin").mkdir(parents=True)
    (home / "conf").mkdir()
    (home / "conf" / "defaults.ini").touch()
    binary = home / "bin" / "grafana"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(binary.parent))
    assert monitoring.grafana_home() == (str(binary), home)
    state_paths = StatePaths(tmp_path, "default")
    process = monitoring.grafana_process(
        (str(binary), home), state_paths, StackSettings(), "http://127.0.0.1:9", ()
    )
    assert process.command == (str(binary), "server", "--homepath", str(home))
    assert process.env["PROMETHEUS_URL"] == "http://127.0.0.1:9"
    assert list(Path(process.env["DASHBOARDS_PATH"]).glob("fanpulse-*.json")) != []
    assert process.env["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert len(process.env["GF_SECURITY_ADMIN_PASSWORD"]) >= 24


def test_events_are_lines_for_people() -> None:
    """A restart is a line, markup in a path is only text, and a start has its line when it is ready."""
    event = StackEvent(EventType.RESTARTING, "ingest", "in 0.2 s")
    assert Text.from_markup(line(event) or "").plain == "… ingest      restarts in 0.2 s"
    odd = StackEvent(EventType.FAILED, "kafka", "see [bold]/x")
    assert Text.from_markup(line(odd) or "").plain.endswith("see [bold]/x")
    assert line(StackEvent(EventType.STARTING, "ingest")) is None
