"""The audit on a real broker: good streams agree, planted errors are named, and it waits for what is late."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from schemas.topics import ALERTS, EVENTS, TOTALS, qualified
from services.audit.recounting import examine
from services.audit.service import audit, export
from services.runtime.kafka import BrokerUnavailableError
from services.runtime.settings import KafkaSettings, Settings
from services.runtime.topic_scan import Record, TopicMissingError, open_reader, read_topic
from tests.support import stream as events
from tests.support.audit_stream import START_MS, Stream, random_stream
from tests.support.ports import free_port
from tests.support.processes import Service, eventually
from tests.support.publishing import publish, write_alerts, write_totals

RULES = """
[[milestone]]
name = "account-likes"
scope = "account"
metric = "like"
ladder = "1-2-5"
from = 1000
"""
ACCOUNT = ("account", ["twitter", "GansuTravel"], "like")
KEY = '["account","twitter","GansuTravel"]'


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a rule file of the tests' own."""
    (tmp_path / "rules.toml").write_text(RULES)
    return settings.model_copy(
        update={
            "alerts": settings.alerts.model_copy(update={"rules": tmp_path / "rules.toml"}),
            "hashtag_aliases": {"FuxiCeremony": ("伏羲大典",)},
        }
    )


def liked(count: int = 1203) -> Stream:
    """A stream in which GansuTravel got some likes in partition 2, and what is published of it is right."""
    stream = Stream(partitions=4, rules=RULES)
    like = {"kind": "interaction", "v": 1, "occurred_at": START_MS, "platform": "twitter",
            "account": "GansuTravel", "action": "like", "hashtags": ["fuxiceremony"]}  # fmt: skip
    for start in range(0, count, 100):
        stream.append(2, [like | {"event_id": f"e{n}"} for n in range(start, min(start + 100, count))])
    stream.milestone(*ACCOUNT, 1000, count)
    return stream


def fanpulse(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line tool with the settings of a test."""
    environment = {
        **os.environ,
        "FANPULSE_KAFKA_BOOTSTRAP": str(settings.kafka.bootstrap),
        "FANPULSE_NAMESPACE": settings.namespace,
        "FANPULSE_STATE_DIR": str(settings.state_dir),
        "FANPULSE_ALERTS_RULES": str(settings.alerts.rules),
    }
    command = [sys.executable, "-m", "fanpulse", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def differing(answer: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of an audit that say what differs, and the verdict."""
    words = ("DIFFERS", "MISSING", "EXTRA", "FALSE", "TWICE", "DAMAGED", "VERDICT")
    return [line for line in answer.stdout.splitlines() if line.startswith(words)]


def exists(path: Path) -> bool:
    """Whether a file or folder is there."""
    return path.exists()


async def test_a_good_stream_agrees(settings: Settings, tmp_path: Path) -> None:
    """Exit 0, the verdict, the event that crossed the milestone, and a report."""
    await publish(settings, liked())
    answer = fanpulse(settings, "audit", "--report", str(tmp_path / "report.json"))
    assert (answer.returncode, differing(answer)) == (0, ["VERDICT: AGREES"]), answer.stderr
    assert "1,203; crossed by event e999 " in answer.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["exact"], report["events"], report["counted"]) == (True, 1203, 1203)
    assert report["as_of"] == [{"partition": 2, "offset": 12}]


async def test_a_stream_of_everything_agrees(settings: Settings) -> None:
    """Batches, single records, garbage, clocks, duplicates, in four partitions of a real topic."""
    stream = random_stream(5, events=3000, partitions=4)
    await publish(settings, stream)
    result = await audit(settings, settle_seconds=0)
    assert [d.line for d in result.differences if d.kind != "milestone"] == []
    assert result.counts.duplicates > 0
    assert result.counts.rejected > 0


async def test_one_changed_total_is_named_with_its_size(settings: Settings) -> None:
    """A forged record in the totals: exit 1, and one line with figure, difference and partition."""
    await publish(settings, liked())
    forged = {"actions": {"like": 1204}, "last_ms": START_MS, "offset": 12}
    await write_totals(settings, [Record(2, 0, 0, KEY.encode(), json.dumps(forged).encode())])
    answer = fanpulse(settings, "audit")
    assert answer.returncode == 1
    assert differing(answer) == [
        "DIFFERS  account twitter GansuTravel like: published 1,204, recounted 1,203 (+1) in partition 2",
        "VERDICT: DIFFERS (1 figure)",
    ]


async def test_what_was_not_committed_is_not_published(settings: Settings) -> None:
    """A forged total in a transaction that was aborted changes nothing."""
    await publish(settings, liked())
    await write_totals(settings, [Record(2, 0, 0, KEY.encode(), b'{"actions":{"like":9}}')], commit=False)
    assert (await audit(settings)).exact


async def test_one_event_removed_from_an_export_is_named_with_its_size(
    settings: Settings, tmp_path: Path
) -> None:
    """`export`, then `audit DIR` without a broker: 0 as it was exported, 1 without one of its events."""
    await publish(settings, liked())
    directory = tmp_path / "june"
    assert fanpulse(settings, "export", str(directory)).returncode == 0
    offline = settings.model_copy(update={"kafka": KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")})
    answer = fanpulse(offline, "audit", str(directory))
    assert (answer.returncode, differing(answer)) == (0, ["VERDICT: AGREES"]), answer.stderr
    file = directory / "events" / "part-00000.parquet"
    table = pq.read_table(file)
    pq.write_table(table.filter(pc.not_equal(table["event_id"], "e77")), file)
    answer = fanpulse(offline, "audit", str(directory))
    assert answer.returncode == 1
    found = differing(answer)
    assert found[0].startswith("DAMAGED  events/part-00000.parquet is not what was exported")
    assert found[0].endswith("it has 1,202 rows instead of 1,203 (-1 rows)")
    assert (
        "DIFFERS  account twitter GansuTravel like: published 1,203, recounted 1,202 (+1) in partition 2"
        in found
    )
    assert "MISSING  1 of 100 entries of the record at offset 0 in partition 2" in found


async def test_forged_and_doubled_milestones_are_named(settings: Settings) -> None:
    """One that the log does not reach, and one that was decided twice."""
    stream = liked()
    stream.alerts.append(stream.alerts[0])
    stream.milestone(*ACCOUNT, 2000, 2000)
    await publish(settings, stream)
    answer = fanpulse(settings, "audit")
    assert answer.returncode == 1
    assert differing(answer) == [
        "TWICE    milestone account twitter GansuTravel like 1,000: decided 2 times, at offsets 0, 1",
        "FALSE    milestone account twitter GansuTravel like 2,000: not reached: published 2,000, recounted "
        "1,203 (+797) at its offsets",
        "VERDICT: DIFFERS (2 milestones)",
    ]


async def test_the_aggregator_is_waited_for_and_agrees(settings: Settings, tmp_path: Path) -> None:
    """While a real aggregator still counts, the audit waits for it; then every figure is the same: totals,
    rolling counts, late events."""
    late = {"kind": "interaction", "v": 1, "occurred_at": START_MS - 10 * 86_400_000, "platform": "twitter",
            "account": "GansuTravel", "action": "like", "hashtags": ["fuxiceremony"]}  # fmt: skip
    too_late = [(1, json.dumps(late | {"event_id": f"late{n}"}).encode()) for n in range(7)]
    await events.produce(settings, [*events.records(11, 400), *too_late])
    (tmp_path / "rules.toml").write_text("")
    worker = Service("aggregate", settings, tmp_path / "worker.log", free_port())
    with worker:
        result = await audit(settings, settle_seconds=60)
    assert [difference.line for difference in result.differences] == []
    assert (result.verdict, result.counts.uncounted) == ("AGREES", 0)
    assert result.counts.events == 20_007
    assert result.counts.late == 7
    assert result.counts.rolling > 1000
    assert result.counts.duplicates > 500


async def test_one_unit_too_many_gained_by_a_reading_is_named(settings: Settings) -> None:
    """A forged history of a figure: exit 1, and one line with figure, difference and partition."""
    stream = Stream(partitions=4, rules=RULES)
    reading = {"kind": "reading", "v": 1, "occurred_at": START_MS, "platform": "twitter",
               "account": "GansuTravel", "metric": "followers"}  # fmt: skip
    values = (214_310, 214_410, 214_400, 0, 214_450)
    stream.append(2, [reading | {"event_id": str(n), "value": value} for n, value in enumerate(values)])
    await publish(settings, stream)
    assert (await audit(settings, settle_seconds=0)).exact
    key = '["reading","twitter","GansuTravel","followers"]'
    [right] = [json.loads(r.value or b"") for r in stream.totals() if (r.key or b"").decode() == key]
    assert (right["gained"], right["lost"], right["resets"]) == (150, 10, 2)
    forged = json.dumps(right | {"gained": 151}).encode()
    await write_totals(settings, [Record(2, 0, 0, key.encode(), forged)])
    answer = fanpulse(settings, "audit")
    assert answer.returncode == 1
    assert differing(answer) == [
        "DIFFERS  reading twitter GansuTravel followers gained: published 151, recounted 150 (+1) in "
        "partition 2",
        "VERDICT: DIFFERS (1 figure)",
    ]


async def test_readings_agree_after_an_aggregator_was_killed(settings: Settings, tmp_path: Path) -> None:
    """kill -9 while readings come in, and another worker goes on: what figures gained, lost, how often they
    were adjusted and reset are those of the log."""
    draw = random.Random(17)

    def records(first: int) -> list[tuple[int, bytes]]:
        found = []
        for number in range(first, first + 300):
            handle, metric = draw.randrange(8), draw.choice(["followers", "reads", "likes", "viewers"])
            value = draw.choice([0, 90, 10_000 + draw.randrange(500), 10_000 + draw.randrange(500)])
            event = {"kind": "reading", "v": 1, "event_id": f"r{number - (draw.random() < 0.05)}",
                     "occurred_at": START_MS + 1000 * number - draw.randrange(20_000),
                     "platform": "twitter", "account": f"account{handle}",
                     "metric": metric, "value": value}  # fmt: skip
            found.append((handle % 4, json.dumps(event).encode()))
        return found

    (tmp_path / "rules.toml").write_text("")
    killed, other = (
        Service("aggregate", settings, tmp_path / f"{name}.log", free_port()) for name in ("killed", "other")
    )
    with killed:
        killed.wait_ready()
        await events.produce(settings, records(0))

        def counting() -> bool:
            metrics = killed.metrics()
            return sum(n for name, n in metrics.items() if name.startswith("fanpulse_events_counted")) > 50

        eventually(counting, 30, "it counts")
        killed.kill()
    await events.produce(settings, records(300))
    with other:
        result = await audit(settings, settle_seconds=60)
    assert [difference.line for difference in result.differences] == []
    assert (result.verdict, result.counts.uncounted) == ("AGREES", 0)
    entries = [
        json.loads(record.value or b"")
        for record in await read_topic(settings, qualified(settings.namespace, TOTALS.name))
        if (record.key or b"").startswith(b'["reading"')
    ]
    for name in ("gained", "lost", "falls", "downward_adjustments", "resets", "late"):
        assert any(entry[name] > 0 for entry in entries), name


async def test_late_alerts_are_waited_for(settings: Settings) -> None:
    """A milestone that is published while the audit waits is no difference."""
    stream = liked()
    (milestone,) = stream.alerts
    stream.alerts = []
    await publish(settings, stream)
    waiting = asyncio.Event()

    def step(text: str) -> None:
        if text == "waiting for alerts":
            waiting.set()

    running = asyncio.create_task(audit(settings, settle_seconds=60, step=step))
    await waiting.wait()
    await write_alerts(settings, [milestone])
    result = await running
    assert result.verdict == "AGREES"
    assert len(result.milestones) == 1


async def test_an_alert_that_never_comes_is_missing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time to settle is over, what is not there is a difference, if it was not only just written."""
    monkeypatch.setattr(examine, "DECISION_MS", 0)  # the broker's times of the records are of this moment
    stream = liked()
    stream.alerts = []
    await publish(settings, stream)
    result = await audit(settings, settle_seconds=2)
    assert [difference.line.split(": reached")[0] for difference in result.differences] == [
        "MISSING  milestone account twitter GansuTravel like 1,000"
    ]


async def test_an_empty_stream_agrees(settings: Settings) -> None:
    """Topics without a record: nothing to differ."""
    result = await audit(settings, settle_seconds=0)
    assert (result.verdict, result.counts.events) == ("AGREES", 0)


async def test_a_stream_that_is_not_there_is_said_so(settings: Settings) -> None:
    """Exit 3 and one line; asking creates no topic."""
    missing = settings.model_copy(update={"namespace": "nobody"})
    answer = fanpulse(missing, "audit")
    assert answer.returncode == 3
    assert "topic nobody.engagement.events.v1 does not exist" in answer.stderr
    with pytest.raises(TopicMissingError):
        await read_topic(missing, "nobody.engagement.events.v1")


async def test_a_broker_that_is_not_there_is_said_so(settings: Settings, tmp_path: Path) -> None:
    """Exit 3 and one line."""
    offline = settings.model_copy(update={"kafka": KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")})
    answer = fanpulse(offline, "audit")
    assert answer.returncode == 3
    assert len(answer.stderr.strip().splitlines()) == 1
    with pytest.raises(BrokerUnavailableError):
        await export(offline, tmp_path / "june")
    assert not exists(tmp_path / "june")


async def test_whole_topics_are_read_to_their_end_as_of_now(settings: Settings) -> None:
    """Markers at the end, aborted records in between, empty partitions: reading ends, with all records."""
    topic = qualified(settings.namespace, TOTALS.name)
    assert await read_topic(settings, qualified(settings.namespace, ALERTS.name)) == []
    kept = [Record(p, 0, 0, b"k%d" % n, b"v") for n in range(50) for p in (0, 3)]
    await write_totals(settings, [Record(1, 0, 0, b"aborted", b"v")] * 9, commit=False)
    await write_totals(settings, kept)
    await write_totals(settings, [Record(0, 0, 0, b"aborted", b"v")] * 9, commit=False)
    found = await read_topic(settings, topic)
    assert sorted((r.partition, r.key) for r in found) == sorted((r.partition, r.key) for r in kept)
    async with open_reader(settings) as reader:
        spans = await reader.spans(topic)
        assert [span.end > span.begin for span in spans] == [True, True, False, True]
        await write_totals(settings, kept)
        later: list[Any] = [record async for batch in reader.stream(topic, spans) for record in batch]
    assert len(later) == len(kept)


async def test_events_are_read_in_order(settings: Settings) -> None:
    """Within a partition records come by offset, each once."""
    await publish(settings, random_stream(3, events=2000, partitions=4))
    found = await read_topic(settings, qualified(settings.namespace, EVENTS.name))
    for partition in range(4):
        offsets = [record.offset for record in found if record.partition == partition]
        assert offsets == list(range(len(offsets)))
