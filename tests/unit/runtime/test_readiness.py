"""Whether a service is ready: what it must do has worked not long ago."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from services.runtime.kafka import BrokerUnavailableError
from services.runtime.metrics import NamespacedRegistry
from services.runtime.readiness import Failing, Fault, Holds, LastSuccess, Readiness, Standstill
from services.runtime.settings import KafkaSettings, Settings
from services.runtime.stream import Stream, StreamCheck


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def told(fault: Fault | None) -> tuple[str, float] | None:
    return None if fault is None else (fault.reason, fault.since)


def test_an_act_that_is_repeated_must_have_worked_lately(clock: Clock) -> None:
    """A fault since the last success, with the last error, and none once it works again."""
    broker = LastSuccess("the broker does not answer", 30, clock)
    clock.now += 30
    broker.failed("rejected")
    assert broker.fault() is None
    clock.now += 1
    assert told(broker.fault()) == ("the broker does not answer: rejected", 1000)
    broker.succeeded()
    assert broker.fault() is None
    clock.now += 31
    assert told(broker.fault()) == ("the broker does not answer", 1031)


def test_an_act_that_is_rare_must_not_fail_for_long(clock: Clock) -> None:
    """Without an act there is no fault; with failures there is one since the first of them."""
    delivering = Failing("deliveries fail", 60, clock)
    clock.now += 10_000
    assert delivering.fault() is None
    delivering.failed("503")
    clock.now += 60
    delivering.failed("504")
    assert delivering.fault() is None
    clock.now += 1
    assert told(delivering.fault()) == ("deliveries fail: 504", 11_000)
    delivering.succeeded()
    assert delivering.fault() is None
    delivering.failed("503")
    assert delivering.fault() is None, "it counts from the first failure after the success"


def test_each_mark_must_move(clock: Clock) -> None:
    """One partition that stands still is a fault while the others move; a partition that is gone is none."""
    fetched = Standstill("nothing fetched of partitions", 30, clock)
    assert fetched.fault() is None
    assert fetched.seconds() == 0
    for second in range(32):
        fetched.saw([(0, second), (1, "still"), (2, "gone") if second < 5 else (0, second)])
        clock.now += 1
    assert told(fetched.fault()) == ("nothing fetched of partitions 1", 1000)
    assert fetched.seconds() == 32
    fetched.saw([(0, 99), (1, "moved")])
    assert fetched.fault() is None


def test_a_state_must_hold(clock: Clock) -> None:
    """A fault from the first look at which it does not."""
    states = iter([True, False, False, True, False])
    assigned = Holds("nothing is assigned", lambda: next(states), clock)
    assert assigned.fault() is None
    clock.now += 5
    assert told(assigned.fault()) == ("nothing is assigned", 1005)
    clock.now += 5
    assert told(assigned.fault()) == ("nothing is assigned", 1005)
    assert assigned.fault() is None
    assert told(assigned.fault()) == ("nothing is assigned", 1010)


def test_readiness_names_the_reason_and_since_when(clock: Clock) -> None:
    """A phase first, then the conditions in turn; the metric counts the seconds."""
    registry = NamespacedRegistry()
    readiness = Readiness(registry, "it starts", clock)
    delivering = Failing("deliveries fail", 5, clock)
    readiness.require(lambda: None, delivering.fault)

    def seconds() -> float | None:
        return registry.get_sample_value("fanpulse_not_ready_seconds")

    clock.now += 2
    readiness.enter("it reads")
    assert (readiness.reason(), seconds()) == ("it reads", 2)
    readiness.enter(None)
    assert (readiness.answer(), seconds()) == ((200, {"status": "ready"}), 0)
    delivering.failed("503")
    clock.now += 90
    status, body = readiness.answer()
    assert (status, body["status"], body["reason"]) == (503, "waiting", "deliveries fail: 503")
    since = datetime.fromisoformat(body["since"]).timestamp()
    assert 89 <= time.time() - since <= 120
    assert seconds() == 90
    delivering.succeeded()
    assert (readiness.reason(), seconds()) == (None, 0)


def test_a_change_is_logged_once(clock: Clock) -> None:
    """One line when it is ready no more and one when it is again; none about a start."""
    readiness = Readiness(NamespacedRegistry(), "it starts", clock)
    delivering = Failing("deliveries fail", 5, clock)
    readiness.require(delivering.fault)
    with capture_logs() as lines:
        readiness.log_change()
        readiness.enter(None)
        readiness.log_change()
        delivering.failed("503")
        clock.now += 60
        for _ in range(5):
            readiness.log_change()
        delivering.succeeded()
        for _ in range(5):
            readiness.log_change()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("not_ready", "error"), ("ready_again", "info"),
    ]  # fmt: skip
    assert (lines[0]["reason"], lines[0]["seconds"]) == ("deliveries fail: 503", 60)


async def test_the_check_of_the_stream_notes_whether_the_broker_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check without an answer is made again soon; its error is the reason, and an answer ends it."""
    settings = Settings(kafka=KafkaSettings(bootstrap="broker:9092", stream_check_seconds=0.2))
    check = StreamCheck(settings, Stream({}))
    clock = Clock()
    check.broker = LastSuccess("the broker does not answer", 30, clock)
    outcomes = [BrokerUnavailableError("broker:9092: rejected")] * 2
    answered = asyncio.Event()

    async def ask(*, certain: bool = True) -> None:
        clock.now += 40
        if outcomes:
            raise outcomes.pop()
        answered.set()

    monkeypatch.setattr(check, "check", ask)
    monkeypatch.setattr("services.runtime.stream.AGAIN_SECONDS", 0.0)
    running = asyncio.create_task(check.run())
    async with asyncio.timeout(30):
        while outcomes:  # noqa: ASYNC110 - there is not an event for it
            await asyncio.sleep(0.01)
        fault = check.broker.fault()
        await answered.wait()
        await asyncio.sleep(0)
    running.cancel()
    assert fault is None or fault.reason == "the broker does not answer: broker:9092: rejected"
    assert check.broker.fault() is None
