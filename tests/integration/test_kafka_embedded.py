"""The embedded broker, against real clients."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
from aiokafka.errors import KafkaError

from fanpulse.devstack.kafka import EmbeddedKafka, KafkaStartError, _java
from schemas.topics import EVENTS, TOTALS, qualified
from services.runtime.kafka import create_topics, make_consumer, make_producer, partitions_of
from services.runtime.settings import KafkaSettings, Settings
from services.supervise.probes import kafka_answers
from tests.support.processes import eventually


async def values(settings: Settings, topic: str, count: int) -> list[bytes]:
    """The first records of a topic."""
    async with make_consumer(settings) as consumer:
        consumer.assign(await partitions_of(consumer, topic))
        async with asyncio.timeout(30):
            return [(await consumer.getone()).value for _ in range(count)]


async def test_a_record_is_written_and_read(kafka: EmbeddedKafka, settings: Settings) -> None:
    """The broker of the run takes a record on a topic that the fixture made, and gives it back."""
    topic = qualified(settings.namespace, EVENTS.name)
    async with make_producer(settings) as producer:
        sent = await producer.send_and_wait(topic, b"[1]", partition=2)
    async with make_consumer(settings) as consumer:
        partitions = await partitions_of(consumer, topic)
        assert len(partitions) == settings.kafka.partitions
        consumer.assign(partitions)
        record = await consumer.getone()
    assert (record.partition, record.offset, record.value) == (2, sent.offset, b"[1]")


async def test_a_transaction_commits(kafka: EmbeddedKafka, settings: Settings) -> None:
    """A transaction of one node commits: its internal topics need no second replica."""
    topic = qualified(settings.namespace, TOTALS.name)
    async with (
        make_producer(settings, transactional_id=qualified(settings.namespace, "t")) as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait(topic, b"{}", key=b"[]", partition=0)
    assert await values(settings, topic, 1) == [b"{}"]


async def test_topics_are_not_made_by_accident(kafka: EmbeddedKafka, settings: Settings) -> None:
    """To write to a misspelt topic is an error, and to read it too; neither makes it."""
    misspelt = qualified(settings.namespace, "engagement.event.v1")
    async with make_producer(settings, request_timeout_ms=2_000) as producer:
        with pytest.raises(KafkaError):
            await producer.send_and_wait(misspelt, b"[1]")
    async with make_consumer(settings) as consumer:
        await consumer._client.add_topic(misspelt)  # asks the broker for it by name
        assert consumer.partitions_for_topic(misspelt) is None
        topics = await consumer.topics()
    assert qualified(settings.namespace, EVENTS.name) in topics
    assert misspelt not in topics


async def test_data_survives_kill_and_a_new_port(tmp_path: Path) -> None:
    """Acknowledged records survive kill -9 with the address unchanged, and a taken port with another address.

    In a folder whose name has blanks and Chinese, as a home folder may.
    """
    folder = tmp_path / "伏羲 stack, one"
    broker = EmbeddedKafka(folder)
    await broker.start()
    address = broker.bootstrap
    settings = Settings(kafka=KafkaSettings(bootstrap=address), state_dir=tmp_path)
    await create_topics(settings)
    async with make_producer(settings) as producer:
        await producer.send_and_wait(EVENTS.name, b"[1]", partition=0)

    pid = broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: broker.pid is None, 10, "the broker's end is seen")
    await broker.start()
    assert broker.bootstrap == address
    assert await values(settings, EVENTS.name, 1) == [b"[1]"]
    await broker.stop()

    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        stranger.listen()
        async with EmbeddedKafka(folder) as moved:
            assert moved.bootstrap != address
            elsewhere = Settings(kafka=KafkaSettings(bootstrap=moved.bootstrap), state_dir=tmp_path)
            assert await values(elsewhere, EVENTS.name, 1) == [b"[1]"]
    assert sorted(entry.name for entry in os.scandir(folder)) == [
        "data",
        "kafka.log",
        "lock",
        "ports.json",
        "server.properties",
        "tmp",
    ]


async def test_a_broken_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    """A data folder that Kafka cannot use is an error with Kafka's words, and no process stays."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n")
    broker = EmbeddedKafka(tmp_path)
    with pytest.raises(KafkaStartError, match=r"(?s)ended with status 1.*Stored node id 7"):
        await broker.start()
    assert broker.pid is None
    assert not using(tmp_path)


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """kill -9 of the process that started a broker ends the broker."""
    script = textwrap.dedent(f"""
        import asyncio, pathlib, time
        from fanpulse.devstack.kafka import EmbeddedKafka
        broker = EmbeddedKafka(pathlib.Path({str(tmp_path)!r}))
        asyncio.run(broker.start())
        print(broker.pid, flush=True)
        time.sleep(300)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert psutil.Process(pid).name() == "java"
        process.kill()
    eventually(lambda: not using(tmp_path), 15, "no process in the broker's folder")


def using(folder: Path) -> list[psutil.Process]:
    """Processes whose working folder it is, or that name it in their command line."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline", "status"]):
        words = [process.info["cwd"] or "", *(process.info["cmdline"] or ())]
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in words):
            found.append(process)
    return found


def _shim(folder: Path, before: str) -> Path:
    """A `java` that does something before it becomes the broker."""
    shim = folder / "java"
    shim.write_text(
        f'#!/bin/sh\ncase "$*" in *kafka.Kafka*)\n{before}\n;; esac\nexec {_java()} "$@"\n', "utf-8"
    )
    shim.chmod(0o755)
    return shim


@pytest.mark.timeout(300)
async def test_a_slow_start_with_progress_is_waited_for_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that take 24 s to load, with a limit of 16 s without progress."""
    lines = (
        "i=0; while [ $i -lt 48 ]; do i=$((i+1)); "
        'echo "2026-12-01T00:00:00,000 INFO  LogManager: Completed load of x ($i/48 completed in /d)"; '
        "sleep 0.5; done"
    )
    shim = _shim(tmp_path, lines)
    monkeypatch.setattr("fanpulse.devstack.kafka._java", lambda: shim)
    shown: list[str] = []
    async with EmbeddedKafka(tmp_path / "kafka", stall_seconds=16, on_wait=shown.append) as broker:
        assert await kafka_answers(broker.bootstrap)
    assert any(each.startswith("while it loads its data: ") and each.endswith(" %") for each in shown)


async def test_a_start_without_progress_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says so, and nothing is left running."""
    shim = _shim(tmp_path, "sleep 600")
    monkeypatch.setattr("fanpulse.devstack.kafka._java", lambda: shim)
    broker = EmbeddedKafka(tmp_path / "kafka", stall_seconds=2)
    with pytest.raises(KafkaStartError, match="no progress for 2 s"):
        await broker.start()
    assert broker.pid is None
