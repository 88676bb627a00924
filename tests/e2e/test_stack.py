"""`fanpulse up`, `status` and `down` as a user runs them, and what is left when something is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fanpulse.devstack.kafka import EmbeddedKafka
from tests.support.processes import eventually
from tests.support.user import Machine

EVENT = {
    "kind": "interaction",
    "event_id": "stack-1",
    "platform": "twitter",
    "account": "GansuTravel",
    "action": "like",
    "quantity": 3,
}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which nothing runs, now and after the test."""
    machine = Machine(tmp_path)
    yield machine
    machine.run("down")
    eventually(lambda: not machine.processes(), 30, "everything of the test has ended")


def post(url: str, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Send an event of this moment to ingest."""
    body = json.dumps({**event, "occurred_at": int(time.time() * 1000)}).encode()
    request = urllib.request.Request(
        f"{url}/v1/events", body, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, json.load(answer)


def accepts(url: str, event: dict[str, Any]) -> bool:
    """Whether ingest takes the event now."""
    try:
        return post(url, event)[0] == 202
    except OSError:
        return False


def counted(metrics_url: str) -> float:
    """Likes of the account on /metrics of the aggregator."""
    try:
        with urllib.request.urlopen(metrics_url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return -1
    wanted = [
        line for line in lines if line.startswith("fanpulse_account_events_total{") and "GansuTravel" in line
    ]
    return sum(float(line.rsplit(" ", 1)[1]) for line in wanted if 'action="like"' in line)


def scraped(url: str) -> int:
    """How many targets Prometheus reads without an error."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query=up==1", timeout=5) as answer:
            return len(json.load(answer)["data"]["result"])
    except OSError:
        return -1


@pytest.mark.timeout(400)
def test_a_stack_runs_recovers_and_ends(machine: Machine) -> None:
    """Every part answers; what is killed comes back, Kafka with its data; down ends everything."""
    started = machine.run("up", "--detach")
    assert started.returncode == 0, started.stderr
    status = machine.status()
    assert set(status) == {
        "namespace", "kafka", "ingest", "aggregate", "alerts", "prometheus", "grafana",
        "running", "state_folder",
    }  # fmt: skip
    assert status.pop("state_folder"), "its free space changes"
    parts = [status["kafka"], *status["ingest"], *status["aggregate"], *status["alerts"]]
    assert [part["health"] for part in parts] == ["ready"] * 4
    assert [part for part in parts if not psutil.pid_exists(part["pid"])] == []
    assert psutil.Process(status["kafka"]["pid"]).name() == "java"
    url, metrics = status["ingest"][0]["url"], status["aggregate"][0]["metrics"]
    assert post(url, EVENT)[0] == 202
    eventually(lambda: counted(metrics) == 3, 30, "the event is counted")
    assert (status["prometheus"] is not None) == (shutil.which("prometheus") is not None)
    if status["prometheus"]:
        eventually(lambda: scraped(status["prometheus"]["url"]) == 3, 30, "Prometheus reads all services")

    assert machine.run("up").returncode == 4
    assert machine.run("up", "--detach").returncode == 0
    assert machine.status() | {"state_folder": None} == status | {"state_folder": None}, "nothing has changed"

    for service in ("ingest", "aggregate", "alerts"):
        os.kill(status[service][0]["pid"], signal.SIGKILL)
    os.kill(status["kafka"]["pid"], signal.SIGKILL)
    eventually(lambda: accepts(url, {**EVENT, "event_id": "stack-2"}), 90, "ingest takes events again")
    eventually(lambda: counted(metrics) == 6, 90, "both events are counted, each once")
    again = machine.status()
    assert again["kafka"]["bootstrap"] == status["kafka"]["bootstrap"]
    assert again["kafka"]["pid"] != status["kafka"]["pid"]

    supervisor = machine.supervisor()
    assert machine.run("down").returncode == 0
    assert not psutil.pid_exists(supervisor) or psutil.Process(supervisor).status() == psutil.STATUS_ZOMBIE
    eventually(lambda: not machine.processes(), 2, "no process is left")
    assert machine.run("status").returncode == 3
    assert machine.run("down").returncode == 0, "nothing to end is no error"


@pytest.mark.timeout(300)
def test_nothing_outlives_a_killed_supervisor(machine: Machine) -> None:
    """kill -9 of the background supervisor ends every process; the next start goes on with the data."""
    assert machine.run("up", "--detach").returncode == 0
    status = machine.status()
    assert post(status["ingest"][0]["url"], EVENT)[0] == 202
    os.kill(machine.supervisor(), signal.SIGKILL)
    eventually(lambda: not machine.processes(), 30, "no process is left")
    assert machine.run("status").returncode == 3, "a stale state file is not believed"
    assert machine.run("up", "--detach").returncode == 0
    assert machine.status()["kafka"]["bootstrap"] == status["kafka"]["bootstrap"]
    eventually(lambda: counted(machine.status()["aggregate"][0]["metrics"]) == 3, 30, "the event is there")


@pytest.mark.timeout(200)
def test_a_start_that_fails_says_why_and_leaves_nothing(machine: Machine) -> None:
    """When one service cannot start, the reason is printed, the exit code is 1 and nothing runs."""
    machine.environment["FANPULSE_ALERTS_METRICS_HOST"] = "203.0.113.1"  # of no machine
    failed = machine.run("up", "--detach")
    assert failed.returncode == 1
    assert "alerts: ended with status" in failed.stderr
    assert "203.0.113.1" in failed.stderr
    eventually(lambda: not machine.processes(), 2, "no process is left")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stack_in_the_terminal_ends_in_order(
    machine: Machine, number: signal.Signals, kafka: EmbeddedKafka
) -> None:
    """Ctrl-C, SIGTERM and a closed terminal end a stack in the foreground, and with it every process."""
    machine.environment["FANPULSE_KAFKA_BOOTSTRAP"] = kafka.bootstrap
    machine.environment["FANPULSE_NAMESPACE"] = f"ends-{number.name.lower()}"
    with machine.begin("up") as process:
        assert process.stdout is not None
        said = ""
        while "ready:" not in said:
            line = process.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        assert machine.status()["kafka"] == {"bootstrap": kafka.bootstrap, "pid": None, "health": "ready"}
        os.killpg(process.pid, number)
        rest = process.stdout.read()
    eventually(lambda: not machine.processes(), 2, "no process is left")
    if number is not signal.SIGHUP:  # after which nobody reads
        assert process.returncode == 0
        stopped = [line.split()[1] for line in rest.splitlines() if line.endswith("stopped")]
        assert stopped[:3] == ["alerts", "aggregate", "ingest"]


@pytest.mark.timeout(300)
def test_up_on_a_running_stack_tells_what_differs(machine: Machine, kafka: EmbeddedKafka) -> None:
    """With the same settings it shows the stack with its health; with others it names them, with exit code 4
    and what to run. Commands and `status` reach it by its namespace, with its own aliases."""
    machine.environment["FANPULSE_KAFKA_BOOTSTRAP"] = kafka.bootstrap
    machine.environment["FANPULSE_HASHTAG_ALIASES"] = '{"GansuHeritage": ["b"]}'
    up = ("up", "--detach", "--namespace", "differs")
    assert machine.run(*up).returncode == 0
    same = machine.run(*up)
    assert same.returncode == 0, same.stderr
    assert same.stdout.count(" ready") >= 4
    machine.environment["FANPULSE_INGEST_MAX_EVENTS"] = "7"
    machine.environment["FANPULSE_HASHTAG_ALIASES"] = "{}"
    other = machine.run(*up, "--workers", "2")
    assert (other.returncode, other.stdout) == (4, "")
    assert other.stderr.count("\n") == 1
    for said in (
        "--workers is 1 there and 2 here",
        "ingest.max_events is 20000 there and 7 here",
        "hashtag_aliases is {'GansuHeritage': ['b']} there and {} here",
        "`fanpulse down --namespace differs && fanpulse up --detach --namespace differs`",
    ):
        assert said in other.stderr
    url = json.loads(machine.run("status", "--format", "json", "-n", "differs").stdout)["ingest"][0]["url"]
    assert post(url, {**EVENT, "hashtags": ["b"]})[0] == 202
    totals = ("totals", "--format", "json", "--namespace", "differs")
    eventually(lambda: '"display": "GansuHeritage"' in machine.run(*totals).stdout, 60, "it is counted")
    missing = machine.run("status")
    assert missing.returncode == 3
    assert "but that of differs does; add --namespace differs" in missing.stderr
    assert machine.run("audit", "--namespace", "differs").stdout.rstrip().endswith("VERDICT: AGREES")
    assert machine.run("down", "--namespace", "differs").returncode == 0


@pytest.mark.timeout(200)
def test_an_abandoned_start_leaves_nothing(machine: Machine) -> None:
    """kill -9 of `up --detach` before all is ready ends what it had begun."""
    with machine.begin("up", "--detach") as process:
        eventually(lambda: len(machine.processes()) >= 4, 30, "the supervisor and the broker run")
        process.kill()
    eventually(lambda: not machine.processes(), 40, "no process is left")


@pytest.mark.timeout(200)
def test_a_service_that_hangs_is_replaced(machine: Machine, kafka: EmbeddedKafka) -> None:
    """A service that is alive and does not answer for 15 s is killed and started again."""
    machine.environment["FANPULSE_KAFKA_BOOTSTRAP"] = kafka.bootstrap
    machine.environment["FANPULSE_NAMESPACE"] = "hangs"
    assert machine.run("up", "--detach").returncode == 0
    before = machine.status()["ingest"][0]
    os.kill(before["pid"], signal.SIGSTOP)
    eventually(lambda: machine.status()["ingest"][0]["health"] == "ready", 90, "it answers again")
    after = machine.status()["ingest"][0]
    assert after["pid"] != before["pid"]
    assert after["url"] == before["url"]
    assert machine.run("down").returncode == 0


@pytest.mark.timeout(60)
def test_a_broker_that_is_not_there_is_named(machine: Machine) -> None:
    """With a broker set that does not answer, the exit code is 3, the address is named, and nothing runs."""
    machine.environment["FANPULSE_KAFKA_BOOTSTRAP"] = "127.0.0.1:9"
    for arguments in (["up"], ["up", "--detach"]):
        result = machine.run(*arguments)
        assert result.returncode == 3
        assert "127.0.0.1:9" in result.stderr
    eventually(lambda: not machine.processes(), 2, "no process is left")
