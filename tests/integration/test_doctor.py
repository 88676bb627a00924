"""`fanpulse doctor` against a real broker."""

from __future__ import annotations

from fanpulse.devstack.checks import Level
from fanpulse.devstack.checks.broker import broker
from schemas.topics import EVENTS, TOTALS, qualified
from services.runtime.settings import KafkaSettings, Settings


async def test_a_broker_with_our_topics_is_well(settings: Settings) -> None:
    """The topics that fanpulse makes are what the doctor asks for."""
    findings = await broker(settings)
    assert [finding.level for finding in findings] == [Level.OK] * 3
    assert [finding.subject for finding in findings] == ["broker", "offsets", "topics"]


async def test_another_number_of_partitions_is_found(settings: Settings) -> None:
    """Settings that do not fit the topics are found before anything is counted wrongly."""
    kafka = settings.kafka.model_copy(update={"partitions": 7})
    findings = await broker(settings.model_copy(update={"kafka": kafka}))
    assert [finding.seen for finding in findings if finding.level is Level.FAIL] == [
        f"{qualified(settings.namespace, topic.name)} has 4 partitions, not 7" for topic in (EVENTS, TOTALS)
    ]


async def test_a_namespace_without_topics_is_a_warning(settings: Settings) -> None:
    """A stream that has not run yet is no defect."""
    findings = await broker(settings.model_copy(update={"namespace": "never-ran"}))
    assert [finding.level for finding in findings] == [Level.OK, Level.OK, Level.WARN]


async def test_no_broker_is_found_out() -> None:
    """A broker that is set and does not answer is a failure; none at all is a warning."""
    silent = await broker(Settings(kafka=KafkaSettings(bootstrap="127.0.0.1:9")))
    assert [finding.level for finding in silent] == [Level.FAIL]
    assert [finding.level for finding in await broker(Settings())] == [Level.WARN]
