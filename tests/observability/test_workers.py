"""Recorded sums while workers join, leave and are killed: a real Prometheus, our rules, a real broker."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import EVENTS, qualified
from services.runtime.kafka import create_topics, make_producer
from services.runtime.settings import Settings
from tests.observability.prometheus import Prometheus
from tests.support import stream
from tests.support.ports import free_port
from tests.support.processes import Service, eventually

ROOT = Path(__file__).parents[2]
ACCOUNTS = ("GansuTravel", "VisitGansu", "gansu.heritage")
#: Prometheus stamps a sample with the start of the scrape, which may take so long (our `scrape_timeout`).
SCRAPE_SECONDS = 1.0
#: Workers store once a second, so a killed one has shown events of about so long that were not stored.
NOT_STORED_SECONDS = 2.5


class Source:
    """Writes events, about 800 a second, from `with` to `stop`; the event clock stands still.

    Every twentieth event is a duplicate. `produced` has a time and the distinct events, by account, of which
    any may have been visible from that time on.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.times: list[float] = []
        self.produced: list[Counter[str]] = []

    def __enter__(self) -> Source:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Return when all has been written."""
        self._stop.set()
        self._thread.join(30)

    def until(self, at: float, account: str | None) -> int:
        """Events that may have been visible at a time, of an account or of all."""
        index = bisect_right(self.times, at) - 1
        if index < 0:
            return 0
        counts = self.produced[index]
        return sum(counts.values()) if account is None else counts[account]

    async def _run(self) -> None:
        producer = make_producer(self._settings)
        topic = qualified(self._settings.namespace, EVENTS.name)
        await producer.start()
        try:
            clock = {"kind": "clock", "v": 1, "stream_time": stream.START_MS, "source": "event"}
            for partition in range(4):
                await producer.send_and_wait(topic, json.dumps([clock]).encode(), partition=partition)
            for number in range(100_000):
                if self._stop.is_set():
                    break
                batch = self._batch(number)
                counts = Counter(self.produced[-1] if self.produced else {})
                counts.update(
                    event["account"] for event in {event["event_id"]: event for event in batch}.values()
                )
                self.produced.append(counts)
                self.times.append(time.time())
                await producer.send_and_wait(topic, json.dumps(batch).encode(), partition=number % 4)
                await asyncio.sleep(0.02)
        finally:
            await producer.stop()

    @staticmethod
    def _batch(number: int) -> list[dict[str, Any]]:
        batch: list[dict[str, Any]] = [
            {
                "kind": "interaction", "v": 1, "event_id": f"{number}-{index}",
                "occurred_at": stream.START_MS, "platform": "twitter",
                "account": ACCOUNTS[(number + index) % 3], "action": "like", "hashtags": ["gansuheritage"],
            }
            for index in range(19)
        ]  # fmt: skip
        return [*batch, batch[0]]


Range = list[tuple[float, float]]


class Story:
    """Three workers, their Prometheus, and what happened when."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.workers = {
            name: Service("aggregate", settings, folder / f"{name}.log", free_port())
            for name in ("stays", "leaves", "dies")
        }
        shutil.copytree(ROOT / "prometheus", folder / "config")
        targets = {f"aggregate-{n}": w.url.removeprefix("http://") for n, w in self.workers.items()}
        self.prometheus = Prometheus(folder, targets)
        self.source = Source(settings)
        self.killed_at = 0.0
        self.settings = settings

    def run(self) -> None:
        """A join, a leave, a join and a kill, while events flow; ends when all is counted and recorded."""
        stays, leaves, dies = self.workers.values()
        with self.source:
            stays.wait_ready(60)
            self._wait_share(stays, 4)
            leaves.start().wait_ready(60)
            self._wait_share(leaves, 2)
            self._flow()
            leaves.signal(signal.SIGTERM)
            self._wait_share(stays, 4)
            dies.start().wait_ready(60)
            self._wait_share(dies, 2)
            self._flow()
            self.killed_at = time.time()
            dies.kill()
            self._wait_share(stays, 4)
            self._flow()
        eventually(lambda: asyncio.run(stream.counted_all(self.settings)), 40, "everything counted")

    def _wait_share(self, worker: Service, partitions: int) -> None:
        """Until Prometheus has seen that a worker has so many partitions."""
        address = worker.url.removeprefix("http://")
        self.prometheus.until(
            f'count(fanpulse_aggregate_offset{{instance="{address}"}})',
            lambda found: [value for _, value in found] == [partitions],
            f"{partitions} partitions",
        )

    def _flow(self) -> None:
        """Until so many further events are recorded that several scrapes have seen the new order."""
        total = "sum(namespace:fanpulse_events_counted:total)"
        goal = self.source.until(time.time(), None) + 2_000
        self.prometheus.until(total, lambda found: bool(found) and found[0][1] >= goal, "events flow")

    def recorded(self, expr: str) -> dict[str, Range]:
        """By account: (time, value) of each second of the story; no second is missing after the first."""
        found = {}
        for each in self.prometheus.query_range(expr, int(time.time() - self.source.times[0]) + 1):
            values = [(float(at), float(value)) for at, value in each["values"]]
            steps = {round(later - earlier) for (earlier, _), (later, _) in pairwise(values)}
            assert steps == {1}, f"{expr} {each['metric']}: a gap"
            found[each["metric"].get("account", "")] = values
        return found


@pytest.fixture(scope="module")
def story(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The story, at its end."""
    folder = tmp_path_factory.mktemp("workers")
    settings = Settings(state_dir=folder / "state", namespace="moving", kafka={"bootstrap": kafka.bootstrap})
    asyncio.run(create_topics(settings))
    each = Story(settings, folder)
    try:
        each.workers["stays"].start()
        with each.prometheus:
            each.run()
            yield each
    finally:
        for worker in each.workers.values():
            worker.__exit__(None, None, None)


def recount(story: Story) -> Counter[str]:
    """Distinct events by account, from the log."""
    figures: Counter[str] = Counter()
    for (scope, *subject, _), count in asyncio.run(stream.expected(story.settings)).items():
        if scope == "account":
            figures[subject[1]] += count
    return figures


def never_above(story: Story, values: Range, account: str | None) -> None:
    """No figure is of more events than had been sent: none is doubled."""
    for at, value in values:
        assert value <= story.source.until(at + SCRAPE_SECONDS, account), (account, at, value)


def falls(values: Range) -> list[tuple[float, float]]:
    """(time, by how much) where a figure is lower than it was before."""
    highest, found = 0.0, []
    for at, value in values:
        if value < highest:
            found.append((at, highest - value))
        highest = max(highest, value)
    return found


def settle(story: Story, expr: str, value: float) -> None:
    story.prometheus.until(expr, lambda found: [each for _, each in found] == [value], f"is {value}")


TOTAL = 'account:fanpulse_account_events:total{account!="_other",action="like"}'
ROLLING = 'account:fanpulse_account_rolling:sum{account!="_other",action="like",window="24h"}'


@pytest.mark.timeout(300)
def test_sums_of_an_account_neither_double_nor_dip(story: Story) -> None:
    """Each second of the story has a figure, none lower than the one before or higher than what was sent; the
    last one is the recount's."""
    expected = recount(story)
    assert set(expected) == set(ACCOUNTS)
    for account in ACCOUNTS:
        settle(story, TOTAL.replace('account!="_other"', f'account="{account}"'), expected[account])
    recorded = story.recorded(TOTAL)
    assert set(recorded) == set(ACCOUNTS)
    for account, values in recorded.items():
        assert falls(values) == []
        never_above(story, values, account)
        assert values[-1][1] == expected[account]


@pytest.mark.timeout(300)
def test_sums_over_all_accounts_neither_double_nor_dip(story: Story) -> None:
    """The same for the sum over accounts, whether they have series of their own or not, for hashtags, and
    for the events counted."""
    expected = sum(recount(story).values())
    for expr in (
        "sum(account:fanpulse_account_events:total)",
        "sum(hashtag:fanpulse_hashtag_events:total)",
        "sum(namespace:fanpulse_events_counted:total)",
    ):
        settle(story, expr, expected)
        [values] = story.recorded(expr).values()
        assert falls(values) == [], expr
        never_above(story, values, None)


@pytest.mark.timeout(300)
def test_rolling_sums_neither_double_nor_dip(story: Story) -> None:
    """With an event clock that stands still, the same; but for a moment after a kill a rolling count may be
    less by what the killed worker had shown and not stored: unlike a total it may fall, so the highest of
    the last minute cannot stand for it."""
    expected = recount(story)
    for account in ACCOUNTS:
        settle(story, ROLLING.replace('account!="_other"', f'account="{account}"'), expected[account])
    recorded = story.recorded(ROLLING)
    assert set(recorded) == set(ACCOUNTS)
    for account, values in recorded.items():
        never_above(story, values, account)
        shown = story.source.until(story.killed_at, account)
        not_stored = shown - story.source.until(story.killed_at - NOT_STORED_SECONDS, account)
        for at, loss in falls(values):
            assert story.killed_at < at < story.killed_at + 20
            assert loss <= not_stored


@pytest.mark.timeout(300)
def test_the_story_would_show_a_dip(story: Story) -> None:
    """The raw series, summed without the rules, do fall or miss seconds while partitions move."""
    raw = story.prometheus.query_range(
        "sum(fanpulse_account_events_total)", int(time.time() - story.source.times[0]) + 1
    )
    values = [(float(at), float(value)) for each in raw for at, value in each["values"]]
    gaps = [later for (earlier, _), (later, _) in pairwise(values) if round(later - earlier) > 1]
    assert falls(values) or gaps
