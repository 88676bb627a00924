"""The alerts service on a real broker: every alert once, whatever happens to it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced
from pydantic import SecretStr
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from schemas.alerts import ALERT, Milestone, Spike, alert_id
from schemas.topics import ALERTS, TOTALS, qualified
from services.alerts.kafka.alert_log import AlertLog, FencedError
from services.alerts.service import AlertsService
from services.runtime.kafka import make_producer
from services.runtime.settings import AlertsSettings, Settings, SettingsError
from services.runtime.topic_scan import read_topic
from tests.support.ports import free_port
from tests.support.processes import Service
from tests.support.totals import MINUTE_MS, START_MS, Change, broadcast, counted, minute, transaction
from tests.unit.alerts.test_delivery import SECRET, Receiver

RULES = """
[[milestone]]
name = "likes"
scope = "account"
metric = "like"
ladder = "1-2-5"
from = 10

[[milestone]]
name = "everything"
scope = "all_accounts"
metric = "like"
ladder = "1-2-5"
from = 10

[[spike]]
name = "live"

[[spike]]
name = "sharp"
factor = 10.0
quiet_minutes = 2
"""
TRAVEL = ("account", "twitter", "GansuTravel")


class Aggregator:
    """Writes totals as the aggregator does: a transaction per partition, the position last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = qualified(settings.namespace, TOTALS.name)
        self._producers: dict[int, AIOKafkaProducer] = {}
        self.offsets: Counter[int] = Counter()

    async def commit(self, partition: int, entries: Iterable[Change], stream_time_ms: int = START_MS) -> None:
        producer = await self._producer(partition)
        async with producer.transaction():
            self.offsets[partition] += 1
            records = transaction(partition, self.offsets[partition], entries, stream_time_ms)
            sent = [await producer.send(self._topic, v, k, partition=partition) for k, v in records]
            await asyncio.gather(*sent)

    async def _producer(self, partition: int) -> AIOKafkaProducer:
        if partition not in self._producers:
            name = qualified(self._settings.namespace, f"test-{partition}")
            self._producers[partition] = make_producer(self._settings, transactional_id=name)
            await self._producers[partition].start()
        return self._producers[partition]

    async def stop(self) -> None:
        for producer in self._producers.values():
            await producer.stop()


@pytest.fixture
async def aggregator(settings: Settings) -> AsyncIterator[Aggregator]:
    aggregator = Aggregator(settings)
    yield aggregator
    await aggregator.stop()


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return path


@pytest.fixture
def alerting(settings: Settings, rules: Path) -> Settings:
    """Settings of an alerts service with few rules and a free port."""
    return settings.model_copy(update={"alerts": AlertsSettings(metrics_port=0, rules=rules)})


@pytest.fixture(autouse=True)
def _logs_apart() -> Iterator[None]:
    """A process writes its logs to standard error; here they are kept out of standard output too."""
    with capture_logs():
        yield


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[AlertsService, asyncio.Task[None]]]:
    """A service in this process, ready; cancelled at the end unless it ended by itself."""
    service = AlertsService(settings)
    task = asyncio.create_task(service.run())
    try:
        await until(lambda: task.done() or service.readiness.reason() is None, "the service is ready")
        if task.done():
            await task
        yield service, task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, FencedError):
            await task


async def until(claim: Callable[[], bool], what: str, seconds: float = 30) -> None:
    async def asked() -> bool:
        return claim()

    await until_async(asked, what, seconds)


async def until_async(claim: Callable[[], Awaitable[bool]], what: str, seconds: float = 30) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await claim():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.05)


async def on_record(settings: Settings) -> list[Milestone | Spike]:
    """Every committed record of the alerts topic, repetitions included."""
    records = await read_topic(settings, qualified(settings.namespace, ALERTS.name))
    alerts = [ALERT.validate_json(record.value or b"") for record in records]
    assert [record.key for record in records] == [alert.id.encode() for alert in alerts]
    return alerts


async def until_recorded(settings: Settings, count: int) -> list[Milestone | Spike]:
    async def enough() -> bool:
        return len(await on_record(settings)) >= count

    await until_async(enough, f"{count} alerts on record")
    return await on_record(settings)


def sample(service: AlertsService, name: str, **labels: str) -> float:
    for metric in service.registry.collect():
        for each in metric.samples:
            if each.name == name and labels.items() <= each.labels.items():
                return each.value
    raise AssertionError(f"no sample {name} {labels}")


async def test_milestones_and_spikes_are_recorded_and_delivered(
    alerting: Settings, aggregator: Aggregator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Totals over partitions become alerts in the topic, under their ids, with figures that hold at their
    offsets; a line each on standard output, but for milestones that a higher one supersedes."""
    phases = broadcast("fuxi-2026", title="Fuxi Grand Ceremony", started=START_MS)
    minutes = [
        minute("fuxi-2026", START_MS + n * MINUTE_MS, count) for n, count in enumerate([20] * 12 + [90])
    ]
    closed_ms = START_MS + 12 * MINUTE_MS + 65_000
    async with running(alerting) as (service, _):
        await aggregator.commit(0, [counted(*TRAVEL, like=8)])
        await aggregator.commit(1, [counted(*TRAVEL, like=14)])
        first = await until_recorded(alerting, 4)
        await aggregator.commit(2, [phases, *minutes], closed_ms)
        for partition in (0, 1, 3):
            await aggregator.commit(partition, [], closed_ms)
        alerts = await until_recorded(alerting, 5)
        await until(
            lambda: sample(service, "fanpulse_alerts_delivered_total", channel="terminal") == 3, "delivered"
        )
        assert sample(service, "fanpulse_alerts_suppressed_total", channel="terminal") == 2
        assert sample(service, "fanpulse_alerts_decided_total", kind="spike", rule="live") == 1
        assert sample(service, "fanpulse_alerts_alert_log_size") == 5
    milestones = [alert for alert in first if isinstance(alert, Milestone)]
    assert [(each.scope, each.threshold, each.total) for each in milestones] == [
        ("account", 10, 22),
        ("account", 20, 22),
        ("all_accounts", 10, 22),
        ("all_accounts", 20, 22),
    ]
    assert all({a.partition: a.offset for a in each.as_of} == {0: 1, 1: 1} for each in milestones)
    spike = alerts[-1]
    assert isinstance(spike, Spike)
    assert (spike.number, spike.observed, spike.baseline) == (1, 90, 20.0)
    lines = capsys.readouterr().out.splitlines()
    delivered = [each.text for each in alerts if not (isinstance(each, Milestone) and each.superseded_by)]
    assert lines == delivered
    assert len(lines) == 3


async def test_nothing_is_decided_twice_after_a_restart(alerting: Settings, aggregator: Aggregator) -> None:
    """A restarted service knows what is on record; it adds what came meanwhile, and delivers only that."""
    await aggregator.commit(0, [counted(*TRAVEL, like=12)])
    async with running(alerting) as (service, _):
        await until_recorded(alerting, 2)
        await until(
            lambda: sample(service, "fanpulse_alerts_delivered_total", channel="terminal") == 2, "delivered"
        )
    await aggregator.commit(0, [counted(*TRAVEL, like=25)])
    async with running(alerting) as (service, _):
        alerts = await until_recorded(alerting, 4)
        await until(
            lambda: sample(service, "fanpulse_alerts_delivered_total", channel="terminal") == 2, "delivered"
        )
    assert len({each.id for each in alerts}) == len(alerts) == 4


async def test_spikes_go_on_after_a_restart(alerting: Settings, aggregator: Aggregator) -> None:
    """The alert log says which spikes each rule has decided: a restarted service decides none again, and goes
    on with the numbers of each rule."""
    counts = [*[20] * 12, 90, 20, 20, 20, 20, 20, 300, 20, 20, 20, 400, 20]

    async def minutes_through(last: int) -> None:
        changes = [
            minute("fuxi-2026", START_MS + n * MINUTE_MS, count) for n, count in enumerate(counts[: last + 1])
        ]
        closed_ms = START_MS + last * MINUTE_MS + 65_000
        await aggregator.commit(0, [broadcast("fuxi-2026", started=START_MS), *changes], closed_ms)
        for partition in (1, 2, 3):
            await aggregator.commit(partition, [], closed_ms)

    for last, decided in ((13, 1), (19, 3), (23, 4)):
        await minutes_through(last)
        async with running(alerting):
            await until_recorded(alerting, decided)
    async with running(alerting):
        await aggregator.commit(1, [counted(*TRAVEL, like=12)])
        alerts = await until_recorded(alerting, 6)
    spikes = [(each.rule, each.number, each.observed) for each in alerts if isinstance(each, Spike)]
    assert spikes == [("live", 1, 90), ("live", 2, 300), ("sharp", 1, 300), ("sharp", 2, 400)]
    assert len({each.id for each in alerts}) == len(alerts) == 6


async def test_a_service_that_comes_late_decides_at_the_end(
    alerting: Settings, aggregator: Aggregator
) -> None:
    """What the totals were on the way to their end is not evaluated: entries may be compacted away. So
    every figure is the one at the end, and of all the thresholds passed only the highest is delivered."""
    for likes in (15, 60, 300):
        filler = [counted("hashtag", f"tag{n}", like=1) for n in range(5000)]
        await aggregator.commit(0, [*filler, counted(*TRAVEL, like=likes)])
    async with running(alerting) as (service, _):
        alerts = await until_recorded(alerting, 10)
        await until(
            lambda: sample(service, "fanpulse_alerts_delivered_total", channel="terminal") == 2, "delivered"
        )
    assert [each.threshold for each in alerts if isinstance(each, Milestone) and each.scope == "account"] == [
        10, 20, 50, 100, 200,
    ]  # fmt: skip
    assert {each.total for each in alerts if isinstance(each, Milestone)} == {300}
    assert {offset.offset for each in alerts for offset in each.as_of} == {3}


async def test_an_open_transaction_is_not_seen(alerting: Settings, aggregator: Aggregator) -> None:
    """What the aggregator has not committed counts for nothing, even while another partition decides; and
    what it aborts never counts."""
    topic = qualified(alerting.namespace, TOTALS.name)
    async with running(alerting):
        producer = await aggregator._producer(0)
        await producer.begin_transaction()
        for key, value in transaction(0, 1, [counted(*TRAVEL, like=99)]):
            await producer.send_and_wait(topic, value, key, partition=0)
        await aggregator.commit(1, [counted("account", "facebook", "VisitGansu", like=10)])
        while_open = await until_recorded(alerting, 2)
        await producer.abort_transaction()
        await aggregator.commit(0, [counted(*TRAVEL, like=11)])
        alerts = await until_recorded(alerting, 4)
    assert [each.total for each in while_open if isinstance(each, Milestone)] == [10, 10]
    later = [(each.scope, each.total) for each in alerts[2:] if isinstance(each, Milestone)]
    assert later == [("account", 11), ("all_accounts", 21)]


async def test_a_second_service_shuts_the_first_out(alerting: Settings, aggregator: Aggregator) -> None:
    """Of two services the later one decides. The earlier one, woken by new totals, is fenced and ends; no
    alert is lost or written twice."""
    async with running(alerting) as (_, first):
        await aggregator.commit(0, [counted(*TRAVEL, like=12)])
        await until_recorded(alerting, 2)
        async with running(alerting) as (_, second):
            await aggregator.commit(0, [counted(*TRAVEL, like=25)])
            await until(first.done, "the first service has ended")
            assert isinstance(first.exception(), FencedError)
            alerts = await until_recorded(alerting, 4)
            assert not second.done()
    assert sorted(each.threshold for each in alerts if isinstance(each, Milestone)) == [10, 10, 20, 20]


async def test_a_zombie_writes_nothing(alerting: Settings) -> None:
    """An alert log that has been taken over can write nothing, not even what it had begun."""
    idle, zombie, owner = AlertLog(alerting), AlertLog(alerting), AlertLog(alerting)
    alert = _milestone(10)
    try:
        await idle.open()
        await zombie.open()
        await zombie._producer.begin_transaction()
        topic = qualified(alerting.namespace, ALERTS.name)
        await zombie._producer.send_and_wait(topic, alert.model_dump_json().encode(), alert.id.encode())
        await owner.open()
        with pytest.raises(ProducerFenced):
            await zombie._producer.commit_transaction()
        with pytest.raises(FencedError):
            await idle.record([alert])
        assert owner.ids == set()
        await owner.record([alert])
    finally:
        for alert_log in (idle, zombie, owner):
            await alert_log.close()
    assert [each.id for each in await until_recorded(alerting, 1)] == [alert.id]


def _milestone(threshold: int) -> Milestone:
    return Milestone(
        id=alert_id("milestone", *TRAVEL, "like", threshold),
        rule="likes",
        scope="account",
        subject=TRAVEL[1:],
        metric="like",
        occurred_at=START_MS,
        decided_at=START_MS,
        as_of=(),
        text="x",
        threshold=threshold,
        total=threshold,
    )


async def test_a_webhook_that_comes_back_gets_everything(alerting: Settings, aggregator: Aggregator) -> None:
    """While the receiver answers 503 deciding and the terminal go on; when it is back it gets each alert that
    is not suppressed, in order, signed, under its id."""
    with Receiver([(503, {"retry-after": "1"})] * 2).serve() as receiver:
        settings = _with_webhook(alerting, receiver.url)
        async with running(settings) as (service, _):
            await aggregator.commit(0, [counted(*TRAVEL, like=12)])
            await aggregator.commit(1, [counted("account", "facebook", "VisitGansu", like=40)])
            alerts = await until_recorded(settings, 6)
            due = [each for each in alerts if isinstance(each, Milestone) and not each.superseded_by]
            await until(
                lambda: (
                    sample(service, "fanpulse_alerts_delivered_total", channel="webhook") == len(due)
                    and sample(service, "fanpulse_alerts_delivered_total", channel="terminal") == len(due)
                ),
                "delivered",
            )
            assert sample(service, "fanpulse_alerts_delivery_retries_total", channel="webhook") == 2
    taken = [Webhook(SECRET).verify(body, headers) for headers, body in receiver.requests]
    assert [each["id"] for each in taken] == [due[0].id, due[0].id, *(each.id for each in due)]
    assert all(
        each["id"] == headers["webhook-id"]
        for each, (headers, _) in zip(taken, receiver.requests, strict=True)
    )


async def test_a_dead_webhook_delays_nothing(alerting: Settings, aggregator: Aggregator) -> None:
    """With nobody listening at the webhook's address, alerts are decided and the terminal shows them; what
    the webhook has not had is delivered by the next service."""
    dead = _with_webhook(alerting, f"http://127.0.0.1:{free_port()}/hook")
    async with running(dead) as (service, _):
        await aggregator.commit(0, [counted(*TRAVEL, like=12)])
        await until_recorded(dead, 2)
        await aggregator.commit(0, [counted(*TRAVEL, like=25)])
        alerts = await until_recorded(dead, 4)
        await until(
            lambda: sample(service, "fanpulse_alerts_delivered_total", channel="terminal") == 4, "terminal"
        )
        assert sample(service, "fanpulse_alerts_delivered_total", channel="webhook") == 0
    receiver = Receiver()
    with receiver.serve():
        async with running(_with_webhook(alerting, receiver.url)):
            await until(lambda: len(receiver.requests) == 4, "the webhook has had all")
    assert [json.loads(body)["id"] for _, body in receiver.requests] == [each.id for each in alerts]


async def test_a_webhook_that_rejects_one_gets_the_next(alerting: Settings, aggregator: Aggregator) -> None:
    """An alert that the receiver will never take is counted as failed and does not block the others."""
    with Receiver([(400, {})]).serve() as receiver:
        settings = _with_webhook(alerting, receiver.url)
        async with running(settings) as (service, _):
            await aggregator.commit(0, [counted(*TRAVEL, like=12)])
            await until(
                lambda: sample(service, "fanpulse_alerts_delivered_total", channel="webhook") == 1,
                "delivered",
            )
            assert sample(service, "fanpulse_alerts_delivery_failures_total", channel="webhook") == 1


async def test_a_channel_that_fails_makes_the_service_not_ready(
    alerting: Settings, aggregator: Aggregator
) -> None:
    """While nobody gets alerts it says by which channel and why, also when it has given them up; the next
    delivery ends it."""
    with Receiver([(503, {})] * 3 + [(204, {})] * 2 + [(400, {})] * 2).serve() as receiver:
        settings = _with_webhook(alerting, receiver.url)
        settings = settings.model_copy(
            update={"alerts": settings.alerts.model_copy(update={"failing_seconds": 0.0})}
        )
        async with running(settings) as (service, _):
            reasons: list[str] = []

            def fails() -> bool:
                reasons.append(service.readiness.reason() or "")
                return "webhook" in reasons[-1]

            def delivered() -> float:
                return sample(service, "fanpulse_alerts_delivered_total", channel="webhook")

            def given_up() -> float:
                return sample(service, "fanpulse_alerts_delivery_failures_total", channel="webhook")

            await aggregator.commit(0, [counted(*TRAVEL, like=12)])
            await until(fails, "not ready")
            assert reasons[-1] == "deliveries by the channel webhook fail: the receiver answered 503"
            assert service.readiness.answer()[0] == 503
            await until(lambda: delivered() == 2 and not fails(), "delivered, and ready again")
            await aggregator.commit(0, [counted(*TRAVEL, like=25)])
            await until(lambda: given_up() == 2, "given up")
            assert fails()
            assert reasons[-1] == "deliveries by the channel webhook fail: the receiver answered 400"
            await aggregator.commit(0, [counted(*TRAVEL, like=55)])
            await until(lambda: delivered() == 4 and not fails(), "delivered, and ready again")


async def test_a_new_channel_gets_no_old_alerts(alerting: Settings, aggregator: Aggregator) -> None:
    """A webhook that is set up later gets what is decided from then on."""
    async with running(alerting):
        await aggregator.commit(0, [counted(*TRAVEL, like=12)])
        await until_recorded(alerting, 2)
    with Receiver().serve() as receiver:
        async with running(_with_webhook(alerting, receiver.url)):
            await aggregator.commit(0, [counted(*TRAVEL, like=25)])
            await until(lambda: len(receiver.requests) == 2, "the webhook has had two")
    assert {json.loads(body)["threshold"] for _, body in receiver.requests} == {20}


def _with_webhook(settings: Settings, url: str) -> Settings:
    changed = settings.alerts.model_copy(update={"webhook_url": url, "webhook_secret": SecretStr(SECRET)})
    return settings.model_copy(update={"alerts": changed})


def test_wrong_rules_end_the_service_at_its_start(settings: Settings, tmp_path: Path) -> None:
    """One line names file, rule and key; nothing is connected before that."""
    path = tmp_path / "mine.toml"
    path.write_text('[[milestone]]\nname = "big"\nscope = "all_accounts"\nmetric = "like"\ntresholds = [5]\n')
    alerts = AlertsSettings(rules=path)
    with pytest.raises(
        SettingsError,
        match=r"alerts.rules: .*mine.toml line 5: milestone 'big': tresholds .*unknown key; did you mean thr",
    ):
        AlertsService(settings.model_copy(update={"alerts": alerts}))
    missing = AlertsSettings(rules=tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=r"alerts.rules: .*none.toml cannot be read"):
        AlertsService(settings.model_copy(update={"alerts": missing}))


# -- as a process -------------------------------------------------------------------------------------------


@pytest.fixture
def process(settings: Settings, rules: Path, tmp_path: Path) -> Service:
    """An alerts service as a process, not started."""
    return Service("alerts", settings, tmp_path / "alerts.log", free_port(), FANPULSE_ALERTS_RULES=str(rules))


async def test_kill_9_loses_and_doubles_nothing(
    settings: Settings, process: Service, aggregator: Aggregator
) -> None:
    """Killed again and again while totals grow: in the end each milestone of the totals is on record once."""
    likes = 0

    async def grow(steps: int) -> None:
        nonlocal likes
        for step in range(steps):
            likes += likes // 7 + 3
            await aggregator.commit(step % 4, [counted(*TRAVEL, like=likes)])

    for round_number in range(5):
        with process:
            growing = asyncio.create_task(grow(12))
            if round_number:
                known = len(await on_record(settings))
                await until_recorded(settings, known + 1)  # it is at work, in the middle of the growth
            else:
                await asyncio.to_thread(process.wait_ready)
            process.kill()
            await growing
    with process:
        await asyncio.to_thread(process.wait_ready)
        expected = _ids(await _final(settings))
        await until_recorded(settings, len(expected))
        assert await asyncio.to_thread(process.stop) == 0
    alerts = await on_record(settings)
    assert Counter(each.id for each in alerts) == Counter(expected)


async def _final(settings: Settings) -> int:
    """Likes over all partitions, by the latest entry of each."""
    latest: dict[int, Any] = {}
    for record in await read_topic(settings, qualified(settings.namespace, TOTALS.name)):
        if json.loads(record.key or b"[]")[0] == "account":
            latest[record.partition] = json.loads(record.value or b"{}")["actions"]["like"]
    return sum(latest.values())


def _ids(total: int) -> list[str]:
    steps = [digit * 10**power for power in range(1, 12) for digit in (1, 2, 5)]
    return [
        alert_id("milestone", *subject, "like", step)
        for subject in (TRAVEL, ("all_accounts",))
        for step in steps
        if step <= total
    ]


async def test_sigterm_ends_it_cleanly(process: Service) -> None:
    """Status 0; before that the endpoint has its metrics."""
    with process:
        await asyncio.to_thread(process.wait_ready)
        names = {name.partition("{")[0] for name in process.metrics()}
        assert {"fanpulse_alerts_alert_log_size", "fanpulse_alerts_decided_total"} <= names
        process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.process.wait, 20) == 0
