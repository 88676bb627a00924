"""The broker goes away, on a real one: services are not ready, say so in few lines, and end when asked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanpulse.devstack.kafka import EmbeddedKafka
from services.runtime.kafka import create_topics
from services.runtime.lifecycle import STOP_SECONDS
from services.runtime.settings import KafkaSettings, Settings
from tests.support import stream
from tests.support.ports import free_port
from tests.support.posting import interaction, post
from tests.support.processes import Service, eventually

SOON = {
    "FANPULSE_KAFKA_READY_SECONDS": "3",
    "FANPULSE_KAFKA_STREAM_CHECK_SECONDS": "1",
    "FANPULSE_INGEST_ACK_TIMEOUT_SECONDS": "2",
    "FANPULSE_AGGREGATE_FLUSH_INTERVAL_MS": "100",
}
NAMES = ("ingest", "aggregate", "alerts")


class Outage:
    """A broker of its own, which stops and comes back, and services that use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.broker = EmbeddedKafka(folder / "kafka")
        asyncio.run(self.broker.start())
        self.settings = Settings(
            state_dir=folder / "state", kafka=KafkaSettings(bootstrap=self.broker.bootstrap)
        )
        asyncio.run(create_topics(self.settings))
        self.services: dict[str, Service] = {}

    def service(self, name: str, **variables: str) -> Service:
        """A service, not started; it is killed at the end."""
        log = self._folder / f"{name}-{len(self.services)}.log"
        service = Service(name, self.settings, log, free_port(), **SOON | variables)
        self.services[log.stem] = service
        return service

    def begin(self, how: str) -> None:
        """Stop the broker."""
        if how == "killed":
            asyncio.run(self.broker.kill())
        else:
            assert self.broker.pid is not None
            os.kill(self.broker.pid, signal.SIGSTOP)

    def end(self) -> None:
        """Have the broker again."""
        if self.broker.pid is None:
            asyncio.run(self.broker.start())
        else:
            os.kill(self.broker.pid, signal.SIGCONT)

    def close(self) -> None:
        for service in self.services.values():
            service.__exit__(None, None, None)
        if self.broker.pid is not None:
            os.kill(self.broker.pid, signal.SIGCONT)
        asyncio.run(self.broker.stop())


@pytest.fixture
def outage(tmp_path: Path) -> Iterator[Outage]:
    outage = Outage(tmp_path)
    try:
        yield outage
    finally:
        outage.close()


def readiness(service: Service) -> tuple[int, dict[str, Any]]:
    """Status and body of /readyz."""
    try:
        with urllib.request.urlopen(f"{service.url}/readyz", timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def port_of(service: Service) -> int:
    return int(service.url.rpartition(":")[2])


def lines(service: Service) -> list[str]:
    return service.log.read_text(errors="replace").splitlines()


def has(service: Service, words: str) -> bool:
    """Whether a line of its log has these words."""
    return any(words in line for line in lines(service))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_without_a_broker_nobody_is_ready_and_everybody_is_again(outage: Outage, how: str) -> None:
    """Each service says since when and why not; /healthz stays; the log has few lines. With the broker they
    are ready by themselves, and what was acknowledged counts once."""
    services = {name: outage.service(name).start() for name in NAMES}
    for service in services.values():
        service.wait_ready(90)
    assert post(port_of(services["ingest"]), [interaction(f"a{n}") for n in range(500)])[0] == 202
    eventually(lambda: asyncio.run(stream.counted_all(outage.settings)), 60, "counted")
    outage.begin(how)
    for name, service in services.items():
        eventually(lambda service=service: readiness(service)[0] == 503, 90, f"{name} not ready")  # type: ignore[misc]
        body = readiness(service)[1]
        assert "the broker" in body["reason"], body
        assert body["since"].endswith("Z")
        with urllib.request.urlopen(f"{service.url}/healthz", timeout=20) as answer:
            assert answer.status == 200
        assert service.metrics()["fanpulse_not_ready_seconds"] > 0
        eventually(lambda service=service: has(service, "not_ready"), 30, f"{name} tells it")  # type: ignore[misc]
    status, answer_body, headers = post(port_of(services["ingest"]), interaction("rejected"))
    assert (status, headers["retry-after"]) == (503, "5")
    assert "broker" in answer_body["detail"]
    if how == "killed":
        seconds = services["ingest"].metrics
        eventually(lambda: seconds()["fanpulse_not_ready_seconds"] > 30, 120, "half a minute of outage")
        assert sum(
            value for name, value in seconds().items()
            if name.startswith("fanpulse_ingest_broker_trouble_total")
        ) > 0  # fmt: skip
        for name, service in services.items():
            assert len(lines(service)) < 120, (name, len(lines(service)), lines(service)[-5:])
    outage.end()
    for name, service in services.items():
        eventually(lambda service=service: readiness(service)[0] == 200, 120, f"{name} ready again")  # type: ignore[misc]
        assert service.process.poll() is None, "it was never restarted"
        eventually(lambda service=service: has(service, "ready_again"), 30, f"{name} tells it")  # type: ignore[misc]
    assert post(port_of(services["ingest"]), [interaction(f"b{n}") for n in range(500)])[0] == 202
    eventually(lambda: asyncio.run(stream.counted_all(outage.settings)), 60, "counted")
    assert asyncio.run(stream.published(outage.settings)) == asyncio.run(stream.expected(outage.settings))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_signal_ends_each_service_although_the_broker_is_away(outage: Outage, how: str) -> None:
    """With events under way: within the bound, with status 0, and the aggregator and ingest say what was not
    stored. Started again with the broker, they lose and double nothing."""
    services = {name: outage.service(name).start() for name in NAMES}
    for service in services.values():
        service.wait_ready(90)
    port = port_of(services["ingest"])
    stop = threading.Event()
    acknowledged: list[str] = []

    def send() -> None:
        number = 0
        while not stop.is_set():
            ids = [f"{number}-{n}" for n in range(50)]
            number += 1
            try:
                if post(port, [interaction(each) for each in ids])[0] == 202:
                    acknowledged.extend(ids)
            except OSError:
                return

    sender = threading.Thread(target=send)
    sender.start()
    eventually(lambda: len(acknowledged) > 2000, 60, "2,000 acknowledged")
    outage.begin(how)
    metrics = services["ingest"].metrics
    eventually(lambda: metrics()["fanpulse_ingest_pending_bytes"] > 0, 30, "something waits")
    for name in reversed(NAMES):
        # Four times the bound, for a slow machine; a service that waits for the broker would not end at all.
        assert services[name].stop(4 * STOP_SECONDS) == 0, (name, lines(services[name])[-5:])
        assert "Traceback" not in services[name].log.read_text(), name
    stop.set()
    sender.join()
    assert has(services["ingest"], "stopped_with_unacknowledged_events")
    outage.end()
    following = outage.service("aggregate").start().wait_ready(90)
    eventually(lambda: asyncio.run(stream.counted_all(outage.settings)), 90, "counted")
    assert following.stop(4 * STOP_SECONDS) == 0
    found = asyncio.run(stream.expected(outage.settings))
    assert asyncio.run(stream.published(outage.settings)) == found
    assert found["account", "twitter", "GansuTravel", "like"] >= len(acknowledged)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", NAMES)
def test_a_signal_ends_a_service_that_waits_for_the_broker_at_its_start(outage: Outage, name: str) -> None:
    """The broker stands still: nothing has begun, so there is nothing to finish."""
    outage.begin("frozen")
    service = outage.service(name, FANPULSE_LOG_LEVEL="debug").start()
    # It has begun to connect: before that, a signal ends any process.
    eventually(lambda: has(service, "Attempting to bootstrap"), 60, "it connects")
    assert service.stop(4 * STOP_SECONDS) == 0, lines(service)[-5:]
    assert "Traceback" not in service.log.read_text()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("name", "number"),
    [*((name, signal.SIGTERM) for name in NAMES), ("ingest", signal.SIGINT), ("aggregate", signal.SIGINT)],
)
def test_a_second_signal_ends_a_service_at_once(outage: Outage, name: str, number: signal.Signals) -> None:
    """While the first one waits for a broker that is away; the status is the documented one."""
    service = outage.service(name).start().wait_ready(90)
    if name == "ingest":
        post(port_of(service), interaction("a"))
    outage.begin("frozen")
    eventually(lambda: readiness(service)[0] == 503, 90, "not ready")
    service.signal(number)
    eventually(lambda: has(service, "stopping"), 30, "it stops")
    service.signal(number)
    status = service.process.wait(4 * STOP_SECONDS)
    # It may have ended by the first one before the second was there.
    assert status in (0, -number, 128 + number), status
    assert "Traceback" not in service.log.read_text()
