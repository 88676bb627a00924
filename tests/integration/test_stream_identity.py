"""The log changes under the services, on a real broker: they stop and say why, or go on exactly."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from schemas.topics import ALERTS, EVENTS, TOTALS, qualified
from services.alerts.service import AlertsService
from services.audit.service import audit
from services.ingest.pipeline.packing import partition_of
from services.runtime.kafka import create_topics, make_producer
from services.runtime.settings import AlertsSettings, Settings
from services.runtime.stream import StreamError, open_stream
from services.runtime.topic_scan import read_topic
from tests.support import stream
from tests.support.ports import free_port
from tests.support.posting import interaction, post
from tests.support.processes import Service, eventually

CHECK_OFTEN = {
    "FANPULSE_KAFKA_STREAM_CHECK_SECONDS": "0.3",
    "FANPULSE_AGGREGATE_FLUSH_INTERVAL_MS": "100",
}
WRONG_DATA = 1


@pytest.fixture
def admin(settings: Settings) -> AdminClient:
    """Somebody with the tools of the broker."""
    return AdminClient({"bootstrap.servers": settings.kafka.bootstrap})


@pytest.fixture
def opened(settings: Settings) -> Settings:
    """Settings whose stream has been founded."""
    asyncio.run(open_stream(settings))
    return settings


def service(name: str, settings: Settings, tmp_path: Path, **variables: str) -> Service:
    return Service(name, settings, tmp_path / f"{name}.log", free_port(), **CHECK_OFTEN | variables)


def full(settings: Settings, name: str) -> str:
    return qualified(settings.namespace, name)


def create_again(admin: AdminClient, settings: Settings, name: str) -> None:
    """Delete a topic, and create it again as it was created before."""
    for future in admin.delete_topics([full(settings, name)]).values():
        future.result(30)
    eventually(lambda: full(settings, name) not in admin.list_topics(timeout=10).topics, 30, "deleted")
    asyncio.run(create_topics(settings))


def configure(admin: AdminClient, settings: Settings, name: str, key: str, value: str) -> None:
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, full(settings, name), incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)

    def shown() -> bool:
        [future] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, full(settings, name))]).values()
        return bool(future.result(30)[key].value == value)

    eventually(shown, 30, "the broker shows the new setting")


def remove_before(admin: AdminClient, settings: Settings, partition: int, offset: int) -> None:
    """What retention does."""
    for future in admin.delete_records(
        [TopicPartition(full(settings, EVENTS.name), partition, offset)]
    ).values():
        future.result(30)


def ended(worker: Service, *words: str) -> str:
    """The last line of a service that has ended because the data are wrong, which has these words."""
    assert worker.process.wait(60) == WRONG_DATA, worker.log.read_text()[-3000:]
    line = worker.log.read_text().strip().splitlines()[-1]
    assert "Traceback" not in worker.log.read_text()
    for word in words:
        assert word in line, line
    return line


def fanpulse(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = Service("stream", settings, Path(), 0).environment
    del environment["FANPULSE_STREAM_METRICS_PORT"]
    return subprocess.run(
        [sys.executable, "-m", "fanpulse", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def wait_counted(settings: Settings) -> None:
    eventually(lambda: asyncio.run(stream.counted_all(settings)), 60, "everything counted")


def test_a_log_that_is_made_anew_stops_who_writes_and_who_counts(
    settings: Settings, admin: AdminClient, tmp_path: Path
) -> None:
    """Deleted and created again while they run: ingest and the aggregator end with one line. Started again
    they end at once, since new events would be in no figure; so does the audit."""
    worker, writer = service("aggregate", settings, tmp_path), service("ingest", settings, tmp_path)
    with worker, writer:
        worker.wait_ready()
        writer.wait_ready()
        port = int(writer.url.rpartition(":")[2])
        assert post(port, [interaction(f"a-{n}") for n in range(100)])[0] == 202
        wait_counted(settings)
        create_again(admin, settings, EVENTS.name)
        ended(worker, EVENTS.name, "was deleted", "FANPULSE_NAMESPACE")
        ended(writer, EVENTS.name, "was deleted", "FANPULSE_NAMESPACE")
    for each in (worker, writer):
        with each:
            ended(each, EVENTS.name, "created again", "FANPULSE_NAMESPACE")
    with pytest.raises(StreamError, match="created again"):
        asyncio.run(audit(settings, settle_seconds=0))


def told_by(worker: Service, name: str) -> float:
    return sum(value for metric, value in worker.metrics().items() if metric.startswith(name))


def test_totals_that_were_lost_are_counted_again_if_you_say_so(
    settings: Settings, admin: AdminClient, tmp_path: Path
) -> None:
    """The aggregator rejects totals that were created again. Once they are accepted it counts the whole log
    again, and the audit agrees."""
    asyncio.run(open_stream(settings))
    asyncio.run(stream.produce(settings, stream.records(seed=3, count=100)))
    worker = service("aggregate", settings, tmp_path)
    with worker:
        worker.wait_ready()
        wait_counted(settings)
        before = asyncio.run(stream.published(settings))
        configure(admin, settings, TOTALS.name, "cleanup.policy", "delete")
        eventually(lambda: told_by(worker, "fanpulse_wrong_topic_settings") == 1, 60, "the setting is told")
        create_again(admin, settings, TOTALS.name)
        ended(worker, TOTALS.name, "fanpulse stream accept totals")
    with worker:
        ended(worker, TOTALS.name, "fanpulse stream accept totals")
    shown = fanpulse(settings, "stream", "show")
    assert (shown.returncode, "created again" in shown.stdout) == (1, True), shown
    accepted = fanpulse(settings, "stream", "accept", "totals")
    assert accepted.returncode == 0, accepted.stderr
    with worker:
        worker.wait_ready()
        wait_counted(settings)
        assert asyncio.run(stream.published(settings)) == before
    assert fanpulse(settings, "stream", "show").returncode == 0


async def test_an_alert_log_that_is_made_anew_stops_alerts(opened: Settings, admin: AdminClient) -> None:
    """What was decided is not decided again without a word."""
    await asyncio.to_thread(create_again, admin, opened, ALERTS.name)
    settings = opened.model_copy(update={"alerts": AlertsSettings(metrics_port=0)})
    with pytest.raises(StreamError, match="fanpulse stream accept alerts"):
        await AlertsService(settings).run()


def test_partitions_that_are_added_change_nothing(
    settings: Settings, admin: AdminClient, tmp_path: Path
) -> None:
    """Grown from 4 to 8 while ingest and aggregator run, and after a restart: ids that are sent again count
    once, a reading stays in its partition, and what somebody writes to the new partitions is told and not
    counted."""
    worker, writer = service("aggregate", settings, tmp_path), service("ingest", settings, tmp_path)
    events = [interaction(f"a-{n}") for n in range(400)]
    reading = {k: v for k, v in interaction("r-1").items() if k != "action"}
    reading |= {"kind": "reading", "metric": "followers", "value": 1000}
    subject = f"twitter/{reading['account']}"
    with worker, writer:
        worker.wait_ready()
        writer.wait_ready()
        port = int(writer.url.rpartition(":")[2])
        assert post(port, [*events, reading])[0] == 202
        for name in (EVENTS.name, TOTALS.name):
            for future in admin.create_partitions([NewPartitions(full(settings, name), 8)]).values():
                future.result(30)
        assert post(port, [*events, reading | {"event_id": "r-2", "value": 1010}])[0] == 202
        asyncio.run(foreign(settings, 5))
        eventually(lambda: surplus(worker) == 1, 60, "the surplus record is told")
        writer.stop()
        worker.stop()
    with worker, writer:
        worker.wait_ready()
        writer.wait_ready()
        assert post(port, [*events, reading | {"event_id": "r-3", "value": 1020}])[0] == 202
        eventually(lambda: surplus(worker) == 1, 60, "the surplus record is told again")
        writer.stop()
        eventually(lambda: counted(settings) == 400 + 3, 60, "all is counted")
        log = asyncio.run(read_topic(settings, full(settings, EVENTS.name)))
        assert {record.partition for record in log} == {0, 1, 2, 3, 5}
        where = {r.partition for r in log if b'"reading"' in (r.value or b"")}
        assert where == {partition_of(subject, 4)}
        likes = {
            key: count
            for key, count in asyncio.run(stream.published(settings)).items()
            if key[0] == "account"
        }
        assert sum(likes.values()) == 400
    result = asyncio.run(audit(settings, settle_seconds=20))
    [difference] = result.differences
    assert "partition 5" in difference.text
    assert "does not belong to the stream" in difference.text


def surplus(worker: Service) -> float:
    return sum(
        value for name, value in worker.metrics().items() if name.startswith("fanpulse_surplus_records")
    )


def counted(settings: Settings) -> int:
    return sum(each["counted"] for each in asyncio.run(stream.checkpoints(settings)).values())


async def foreign(settings: Settings, partition: int) -> None:
    """Somebody writes an event by himself."""
    producer = make_producer(settings)
    await producer.start()
    try:
        value = json.dumps([interaction("foreign")]).encode()
        await producer.send_and_wait(full(settings, EVENTS.name), value, partition=partition)
    finally:
        await producer.stop()


def test_a_gap_in_front_of_a_partition_stops_it(
    settings: Settings, admin: AdminClient, tmp_path: Path
) -> None:
    """Records removed before they were counted: the aggregator says how many, and ends. Told to go on, it
    counts the rest, shows the gap, and the audit notes it."""
    asyncio.run(open_stream(settings))
    asyncio.run(stream.produce(settings, [(0, record(n)) for n in range(50)]))
    remove_before(admin, settings, 0, 20)
    with service("aggregate", settings, tmp_path) as worker:
        ended(worker, "partition 0", "20 records (offsets 0 to 19)", "FANPULSE_AGGREGATE_ACCEPT_GAPS=true")
    with service("aggregate", settings, tmp_path, FANPULSE_AGGREGATE_ACCEPT_GAPS="true") as worker:
        worker.wait_ready()
        wait_counted(settings)
        assert counted(settings) == 30
        gaps = [v for name, v in worker.metrics().items() if re.match(r"fanpulse_gap_records.*\"0\"", name)]
        assert gaps == [20]
        worker.stop()
    result = asyncio.run(audit(settings, settle_seconds=0))
    assert result.exact, result
    assert any("20 records" in note and "offsets 0 to 19" in note for note in result.notes), result.notes


def record(number: int) -> bytes:
    return json.dumps([interaction(f"g-{number}") | {"v": 1}]).encode()


def test_ids_that_were_removed_stop_it(settings: Settings, admin: AdminClient, tmp_path: Path) -> None:
    """Counted records that the dedup window reaches back to are removed: a restart says so, and ends. Told to
    go on, it shows how many."""
    asyncio.run(open_stream(settings))
    asyncio.run(stream.produce(settings, [(0, record(n)) for n in range(50)]))
    with service("aggregate", settings, tmp_path) as worker:
        worker.wait_ready()
        wait_counted(settings)
        worker.stop()
    remove_before(admin, settings, 0, 20)
    with service("aggregate", settings, tmp_path) as worker:
        ended(worker, "partition 0", "20 events", "FANPULSE_AGGREGATE_ACCEPT_GAPS=true")
    with service("aggregate", settings, tmp_path, FANPULSE_AGGREGATE_ACCEPT_GAPS="true") as worker:
        worker.wait_ready()
        forgotten = [v for n, v in worker.metrics().items() if re.match(r"fanpulse_forgotten_ids.*\"0\"", n)]
        assert forgotten == [20]


@pytest.mark.parametrize(
    ("topic", "key", "value"),
    [
        (TOTALS.name, "cleanup.policy", "delete"),
        (EVENTS.name, "cleanup.policy", "compact"),
        (EVENTS.name, "retention.ms", "3600000"),
        (EVENTS.name, "retention.bytes", "1000000"),
        (TOTALS.name, "min.insync.replicas", "2"),
    ],
)
def test_a_setting_that_would_lose_records_is_rejected_and_mended(
    settings: Settings, admin: AdminClient, topic: str, key: str, value: str
) -> None:
    """Services do not start on it, and say which setting it is; `fanpulse stream mend` sets it."""
    configure(admin, settings, topic, key, value)
    with pytest.raises(StreamError, match=f"{topic} has {key}={value}.*fanpulse stream mend"):
        asyncio.run(open_stream(settings))
    mended = fanpulse(settings, "stream", "mend")
    assert mended.returncode == 0, mended.stderr
    assert key in mended.stdout
    asyncio.run(open_stream(settings))


def test_a_stream_in_more_partitions_has_the_same_figures(settings: Settings, tmp_path: Path) -> None:
    """Copied from 4 into 7 partitions once all is counted, and not before: the totals are the same, the audit
    of both is exact, and no milestone is told again."""
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[milestone]]\nname = "likes"\nscope = "account"\nmetric = "like"\nladder = "1-2-5"\nfrom = 10\n'
    )
    named = {"FANPULSE_ALERTS_RULES": str(rules)}
    settings = settings.model_copy(update={"alerts": settings.alerts.model_copy(update={"rules": rules})})
    wider = settings.model_copy(update={"namespace": f"{settings.namespace}-7"[-31:].lstrip("-")})
    command = ("repartition", "--partitions", "7", "--into", wider.namespace)
    asyncio.run(open_stream(settings))
    asyncio.run(stream.produce(settings, stream.records(seed=8, count=60)))
    early = fanpulse(settings, *command)
    assert (early.returncode, "is counted up to offset 0" in early.stderr) == (1, True), early
    run_until_exact(settings, tmp_path / "old", **named)
    done = fanpulse(settings, *command)
    assert done.returncode == 0, done.stderr
    assert "of 4 partitions copied into 7" in done.stdout
    run_until_exact(wider, tmp_path / "new", **named)
    assert asyncio.run(stream.published(wider)) == asyncio.run(stream.published(settings))
    told = [asyncio.run(read_topic(each, full(each, ALERTS.name))) for each in (settings, wider)]
    assert [r.key for r in told[0]] == [r.key for r in told[1]] != []
    again = fanpulse(settings, *command)
    assert (again.returncode, "has records already" in again.stderr) == (1, True), again


def run_until_exact(settings: Settings, folder: Path, **variables: str) -> None:
    folder.mkdir()
    worker = service("aggregate", settings, folder, **variables)
    decider = service("alerts", settings, folder, **variables)
    with worker, decider:
        worker.wait_ready()
        decider.wait_ready()
        result = asyncio.run(audit(settings, settle_seconds=60))
        assert result.exact, result.differences
        worker.stop()
        decider.stop()


async def test_the_totals_are_created_with_the_partitions_of_the_log(settings: Settings) -> None:
    """Whatever kafka.partitions says to the service that comes second."""
    fresh = settings.model_copy(update={"namespace": f"{settings.namespace}-b"[-31:].lstrip("-")})
    wide = fresh.model_copy(update={"kafka": fresh.kafka.model_copy(update={"partitions": 6})})
    assert (await open_stream(wide, (EVENTS,))).partitions(EVENTS) == 6
    assert (await open_stream(fresh, (EVENTS, TOTALS))).partitions(TOTALS) == 6
