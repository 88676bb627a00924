"""The board reads the topics of a real broker; a demo on an existing broker begins with new ones."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from rich.console import Console

from fanpulse.board.background import run_with_background
from fanpulse.board.feed import Feed
from fanpulse.board.model import AlertLine, Board
from fanpulse.board.watch import WatchSession
from fanpulse.devstack.lock import FileLock
from fanpulse.devstack.state_paths import StatePaths
from fanpulse.simulate.fresh import BusyError, demo_lock, fresh_broker, fresh_topics
from fanpulse.simulate.organisation import ALIASES, START_MS
from fanpulse.simulate.scenario import Scenario
from schemas.alerts import Milestone
from schemas.topics import ALERTS, EVENTS, TOPICS, TOTALS, qualified
from services.runtime.kafka import create_topics, make_consumer, make_producer
from services.runtime.settings import Settings
from services.runtime.topic_scan import TopicMissingError, open_reader
from tests.support.board_stream import ALIAS_TABLE, Publisher, thinned

NOW_MS = START_MS


class Recorder(Board):
    """Remembers the records it is fed."""

    def __init__(self) -> None:
        super().__init__(ALIAS_TABLE)
        self.records: list[tuple[int, bytes, bytes | None]] = []

    def apply_total(self, partition: int, key: bytes, value: bytes | None, timestamp_ms: int) -> None:
        self.records.append((partition, key, value))
        super().apply_total(partition, key, value, timestamp_ms)


def published() -> Recorder:
    board = Recorder()
    Publisher(board, partitions=4).play(thinned(Scenario(minutes=30).items, 4))
    return board


def milestone(number: int) -> Milestone:
    return Milestone(
        id=f"m{number}", rule="r", scope="all_accounts", subject=(), metric="interactions",
        occurred_at=START_MS,
        decided_at=0, as_of=(), text="t", threshold=1_000 * number, total=1_000 * number,
    )  # fmt: skip


async def write_totals(settings: Settings, records: list[tuple[int, bytes, bytes | None]]) -> None:
    """In one transaction, and some nonsense in one that is aborted."""
    topic = qualified(settings.namespace, TOTALS.name)
    producer = make_producer(settings, transactional_id=f"{settings.namespace}-board")
    await producer.start()
    try:
        async with producer.transaction():
            await asyncio.gather(*[await producer.send(topic, v, key=k, partition=p) for p, k, v in records])
        await producer.begin_transaction()
        await producer.send_and_wait(
            topic, b'{"actions":{"like":9999},"offset":9}', key=b'["account","x","never"]', partition=0
        )
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def write_alert(settings: Settings, alert: Milestone) -> None:
    producer = make_producer(settings)
    await producer.start()
    try:
        topic = qualified(settings.namespace, ALERTS.name)
        await producer.send_and_wait(topic, alert.model_dump_json().encode(), key=alert.id.encode())
    finally:
        await producer.stop()


async def until(claim: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(30):
        while not claim():  # noqa: ASYNC110 - what is waited for comes from a broker
            await asyncio.sleep(0.05)


async def test_the_feed_brings_the_board_to_what_is_committed(settings: Settings) -> None:
    """All of a transaction, nothing of an aborted one; later alerts are reported, earlier ones are not."""
    source = published()
    await write_totals(settings, source.records)
    await write_alert(settings, milestone(1))
    board = Board(ALIAS_TABLE)
    reported: list[AlertLine] = []
    feed = Feed(settings, board, reported.append)

    async def poll() -> None:
        async with asyncio.timeout(30):
            await feed.loaded.wait()
        seen, wanted = board.snapshot(NOW_MS), source.snapshot(NOW_MS)
        assert (seen.accounts, seen.hashtags, seen.all_accounts) == (
            wanted.accounts,
            wanted.hashtags,
            wanted.all_accounts,
        )
        assert seen.counted == wanted.counted
        assert not reported
        await write_alert(settings, milestone(2))
        await until(lambda: bool(reported), "the alert")
        assert [line.text for line in reported] == ["all accounts 2,000 interactions"]
        assert board.snapshot(NOW_MS).milestones == 2
        await write_alert(settings, milestone(3))
        async with asyncio.timeout(30):
            await feed.read_to_end()
        assert [line.text for line in reported][1:] == ["all accounts 3,000 interactions"]

    await run_with_background(poll(), feed.run())


async def test_the_board_is_shown_once(settings: Settings) -> None:
    """`watch --once` prints the board of what the topics hold."""
    source = published()
    await write_totals(settings, source.records)
    file = io.StringIO()
    await WatchSession(settings, ALIASES, Console(file=file, width=120)).print_once()
    cells = [line.split() for line in file.getvalue().splitlines()]
    snapshot = source.snapshot(NOW_MS)
    assert snapshot.accounts
    for row in snapshot.accounts:
        (shown,) = [each for each in cells if each[:2] == [row.platform, row.name]]
        assert (shown[2], shown[8]) == (f"{row.followers:,}", f"{row.activity:,}")
    for row in snapshot.hashtags[:4]:
        (shown,) = [each for each in cells if each[:1] == [f"#{row.name}"]]
        assert shown[1] == f"{row.activity:,}"
    (head,) = [each for each in cells if each[:1] == ["fanpulse"]]
    assert head[head.index("events") - 1] == f"{snapshot.counted:,}"


async def test_watching_what_does_not_exist_ends_at_once(settings: Settings) -> None:
    """A namespace without topics is an error that names the topic, and no topic is made by asking."""
    other = settings.model_copy(update={"namespace": f"{settings.namespace}-x"})
    with pytest.raises(TopicMissingError, match=qualified(other.namespace, TOTALS.name)):
        await WatchSession(other, {}, Console(file=io.StringIO())).follow()
    async with open_reader(other) as reader:
        with pytest.raises(TopicMissingError):
            await reader.spans(qualified(other.namespace, TOTALS.name))


async def test_an_error_of_a_companion_ends_the_work() -> None:
    """The error itself is raised, and nothing goes on."""
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await run_with_background(forever(), forever(), fail())
    assert ended == [True, True]


async def commit(settings: Settings, group: str, offset: int) -> None:
    consumer = make_consumer(settings, group_id=group)
    topic = qualified(settings.namespace, EVENTS.name)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.commit({TopicPartition(topic, 0): offset})
    finally:
        await consumer.stop()


async def committed(settings: Settings, group: str) -> int | None:
    consumer = make_consumer(settings, group_id=group)
    await consumer.start()
    try:
        offset = await consumer.committed(TopicPartition(qualified(settings.namespace, EVENTS.name), 0))
        return None if offset is None else int(offset)
    finally:
        await consumer.stop()


async def test_a_demo_on_an_existing_broker_begins_empty(settings: Settings) -> None:
    """Topics and group offsets of the namespace are gone, and those of another are not touched."""
    other = settings.model_copy(update={"namespace": f"{settings.namespace}y"})
    group, kept = f"{settings.namespace}.fanpulse-aggregate", f"{other.namespace}.fanpulse-aggregate"
    await create_topics(other)
    await commit(settings, group, 7)
    await commit(other, kept, 7)
    await write_alert(settings, milestone(1))
    await fresh_topics(settings)
    async with open_reader(settings) as reader:
        for topic in TOPICS:
            with pytest.raises(TopicMissingError):
                await reader.spans(qualified(settings.namespace, topic.name))
            spans = await reader.spans(qualified(other.namespace, topic.name))
            assert len(spans) == (topic.partitions or settings.kafka.partitions)
    await create_topics(settings)
    assert await committed(settings, group) is None
    assert await committed(other, kept) == 7
    await fresh_topics(settings)
    await fresh_topics(settings)  # nothing there any more


async def test_a_demo_does_not_take_the_topics_of_one_that_runs(settings: Settings) -> None:
    """A group with members means that another demo runs on this broker: nothing is deleted."""
    topic = qualified(settings.namespace, EVENTS.name)
    member = make_consumer(settings, group_id=f"{settings.namespace}.fanpulse-aggregate")
    member.subscribe([topic])
    await member.start()
    try:
        await until(lambda: bool(member.assignment()), "the assignment")
        with pytest.raises(BusyError, match="another demo"):
            await fresh_topics(settings)
        async with open_reader(settings) as reader:
            assert await reader.spans(topic)
    finally:
        await member.stop()


async def test_the_data_of_an_earlier_demo_is_removed(tmp_path: Path) -> None:
    """The data of the embedded broker of the namespace is removed, and no other."""
    state_paths, other = StatePaths(tmp_path, "demo"), StatePaths(tmp_path, "default")
    for each in (state_paths, other):
        (each.kafka / "data").mkdir(parents=True)
    await fresh_broker(state_paths)
    assert not state_paths.kafka.exists()
    assert other.kafka.exists()


async def test_one_demo_at_a_time(tmp_path: Path) -> None:
    """A second one is an error; so is one beside a stack that was started in the demo's namespace."""
    state_paths = StatePaths(tmp_path, "demo")
    with demo_lock(state_paths), pytest.raises(BusyError, match="FANPULSE_STATE_DIR"), demo_lock(state_paths):
        pass
    with demo_lock(state_paths):
        pass
    supervisor = FileLock(state_paths.supervisor_lock)
    supervisor.acquire()
    state_paths.kafka.mkdir(parents=True)
    with pytest.raises(BusyError, match="fanpulse down"):
        await fresh_broker(state_paths)
    assert state_paths.kafka.exists()
    supervisor.release()
