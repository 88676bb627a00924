"""A topic takes smaller records than are written to it: a service ends with one line, and goes on after."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from fanpulse.cli.stream import _mend
from schemas.topics import ALERTS, POSTS, REJECTED, TOTALS, Topic, qualified
from services.runtime.settings import Settings
from services.runtime.stream import StreamError, open_stream
from services.runtime.topic_states import TopicAdmin
from tests.support import stream
from tests.support.ports import free_port
from tests.support.processes import Service, eventually

WRONG_DATA = 1
RULES = """
[[milestone]]
name = "likes"
scope = "account"
metric = "like"
ladder = "1-2-5"
from = 10
"""


async def configure(settings: Settings, topic: Topic, key: str, value: str) -> None:
    """Somebody changes a topic. Returns once the broker shows it."""
    admin, name = TopicAdmin(settings), qualified(settings.namespace, topic.name)
    await admin.configure(name, {key: value})
    async with asyncio.timeout(30):
        while (await admin.describe([name])).topics[name].config[key] != value:  # type: ignore[index]  # noqa: ASYNC110 - there is not an event for it
            await asyncio.sleep(0.05)


def produce_until_ended(settings: Settings, service: Service) -> None:
    """Write events until a service ends: the broker may show a setting a moment before it obeys it."""
    seeds = itertools.count()

    def has_ended() -> bool:
        asyncio.run(stream.produce(settings, stream.records(seed=next(seeds), count=20)))
        return service.process.poll() is not None

    eventually(has_ended, 90, "it ends")


def ended(service: Service, *words: str) -> None:
    """It ends since the data are wrong; its last line has these words, and there is no traceback."""
    assert service.process.wait(90) == WRONG_DATA, service.log.read_text()[-3000:]
    line = service.log.read_text().strip().splitlines()[-1]
    assert "Traceback" not in service.log.read_text()
    for word in words:
        assert word in line, line


@pytest.mark.timeout(300)
def test_totals_that_are_too_large_end_the_aggregator_with_one_line(
    settings: Settings, tmp_path: Path
) -> None:
    """While it runs and at the next start; once the topic is mended the figures are exact."""

    def worker(name: str) -> Service:
        often = {"FANPULSE_AGGREGATE_FLUSH_INTERVAL_MS": "100"}
        return Service("aggregate", settings, tmp_path / name, free_port(), **often)

    with worker("first") as running:
        running.wait_ready(60)
        asyncio.run(configure(settings, TOTALS, "max.message.bytes", "100"))
        produce_until_ended(settings, running)
        ended(running, TOTALS.name, "max.message.bytes is too small", "fanpulse stream mend")
    with worker("second") as again:
        ended(again, TOTALS.name, "max.message.bytes=100, and needs 1048588", "fanpulse stream mend")
    assert asyncio.run(_mend(settings)) == [
        f"{qualified(settings.namespace, TOTALS.name)}: max.message.bytes is 1048588, and was 100"
    ]
    asyncio.run(configure(settings, TOTALS, "max.message.bytes", "1048588"))
    with worker("third") as mended:
        mended.wait_ready(60)
        eventually(lambda: asyncio.run(stream.counted_all(settings)), 60, "counted")
    assert asyncio.run(stream.published(settings)) == asyncio.run(stream.expected(settings))


@pytest.mark.timeout(300)
def test_alerts_that_are_too_large_end_the_service_with_one_line(settings: Settings, tmp_path: Path) -> None:
    """It decides them again once the topic is mended."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    with Service("aggregate", settings, tmp_path / "aggregate", free_port()) as worker:
        worker.wait_ready(60)
        variables = {"FANPULSE_ALERTS_RULES": str(rules)}
        with Service("alerts", settings, tmp_path / "alerts", free_port(), **variables) as alerts:
            alerts.wait_ready(60)
            asyncio.run(configure(settings, ALERTS, "max.message.bytes", "100"))
            produce_until_ended(settings, alerts)
            ended(alerts, ALERTS.name, "max.message.bytes is too small", "fanpulse stream mend")
        asyncio.run(_mend(settings))
        asyncio.run(configure(settings, ALERTS, "max.message.bytes", "1048588"))
        with Service("alerts", settings, tmp_path / "again", free_port(), **variables) as again:
            again.wait_ready(60)

            def decided() -> float:
                found = again.metrics().items()
                return sum(
                    value for name, value in found if name.startswith("fanpulse_alerts_alert_log_size")
                )

            eventually(lambda: decided() > 0, 60, "decided")


@pytest.mark.parametrize("topic", [POSTS, REJECTED], ids=lambda topic: topic.name)
async def test_topics_with_the_time_of_senders_are_told_at_the_start(
    settings: Settings, topic: Topic
) -> None:
    """Topics made before have it; the broker would reject what a machine with a fast clock writes."""
    name = qualified(settings.namespace, topic.name)
    await configure(settings, topic, "message.timestamp.type", "CreateTime")
    with pytest.raises(StreamError, match=rf"{topic.name} has message\.timestamp\.type=CreateTime"):
        await open_stream(settings)
    assert await _mend(settings) == [f"{name}: message.timestamp.type is LogAppendTime, and was CreateTime"]
    await configure(settings, topic, "message.timestamp.type", "LogAppendTime")
    await open_stream(settings)
