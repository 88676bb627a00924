"""The aggregator on a real broker: exact whatever happens to it."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path

import pytest

from schemas.topics import REJECTED, qualified
from services.aggregate.kafka.process_end import EXIT_FAILED
from services.runtime.settings import Settings
from services.runtime.topic_scan import read_topic
from tests.support import stream
from tests.support.ports import free_port
from tests.support.processes import Service, eventually

FLUSH_OFTEN = {"FANPULSE_AGGREGATE_FLUSH_INTERVAL_MS": "100"}


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Service:
    """An aggregator that is not started yet."""
    return Service("aggregate", settings, tmp_path / "worker.log", free_port(), **FLUSH_OFTEN)


def wait_counted(settings: Settings, seconds: float = 40) -> None:
    eventually(lambda: asyncio.run(stream.counted_all(settings)), seconds, "everything counted")


def check(settings: Settings) -> None:
    """The totals equal a recount of the log, to the unit."""
    expected, published = asyncio.run(stream.expected(settings)), asyncio.run(stream.published(settings))
    assert sum(expected.values()) > 0
    assert published == expected


def remainder(metrics: dict[str, float]) -> dict[str, float]:
    """What is in the remainders and not 0."""
    return {name: value for name, value in metrics.items() if '="_other"' in name and value}


def stored_something(worker: Service) -> bool:
    """Whether a worker has stored anything in this life."""
    found = worker.metrics().items()
    return any(value > 0 for name, value in found if name.startswith("fanpulse_stored_entries_total{"))


def test_totals_and_metrics_equal_a_recount(settings: Settings, worker: Service) -> None:
    """Totals, and the metrics summed over partitions, are those of a recount; a restart changes nothing."""
    asyncio.run(stream.produce(settings, stream.records(seed=1, count=200)))
    with worker:
        worker.wait_ready()
        wait_counted(settings)
        check(settings)
        expected = asyncio.run(stream.expected(settings))
        wanted = sum(n for (scope, *rest), n in expected.items() if rest[1] == "GansuTravel")
        # An account, or a hashtag, that is new is in the remainder until it has been chosen.
        eventually(lambda: not remainder(worker.metrics()), 10, "all accounts and hashtags chosen")
        metrics = worker.metrics()
        shown = sum(
            value
            for name, value in metrics.items()
            if name.startswith("fanpulse_account_events_total{") and 'account="GansuTravel"' in name
        )
        assert shown == wanted > 0
        assert worker.stop() == 0
    with worker:
        worker.wait_ready()
        again = worker.metrics()
        for name, value in metrics.items():
            if name.startswith(("fanpulse_account_", "fanpulse_hashtag_", "fanpulse_duplicate_events_total")):
                assert again[name] == value, name
        asyncio.run(stream.produce(settings, stream.records(seed=2, count=50)))
        wait_counted(settings)
        check(settings)
        assert worker.stop() == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kill_9_loses_and_doubles_nothing(settings: Settings, worker: Service, seed: int) -> None:
    """A worker killed at random moments while it counts, and started again, ends with the exact totals."""
    draw = random.Random(seed)
    asyncio.run(stream.produce(settings, stream.records(seed=seed, count=6000)))
    busy = 0
    for number in range(3):
        with worker:
            worker.wait_ready()
            if number > 0:
                eventually(lambda: stored_something(worker), 30, "something stored")
            time.sleep(draw.uniform(0.0, 0.2))  # not to wait for anything: the moment of the kill is drawn
            worker.kill()
        busy += number > 0 and not asyncio.run(stream.counted_all(settings))
        asyncio.run(stream.produce(settings, stream.records(seed=seed * 100 + number, count=2000)))
    with worker:
        worker.wait_ready()
        wait_counted(settings)
        check(settings)
    assert busy > 0, "no kill met a worker that was counting"


def test_a_second_worker_takes_over_and_the_paused_one_is_fenced(settings: Settings, tmp_path: Path) -> None:
    """A worker paused past its session, while another owns its partitions, writes nothing when it wakes."""
    first = Service("aggregate", settings, tmp_path / "first.log", free_port(), **FLUSH_OFTEN)
    second = Service("aggregate", settings, tmp_path / "second.log", free_port(), **FLUSH_OFTEN)
    asyncio.run(stream.produce(settings, stream.records(seed=4, count=300)))
    with first, second:
        first.wait_ready()
        second.wait_ready()
        asyncio.run(stream.produce(settings, stream.records(seed=5, count=100)))
        wait_counted(settings)
        first.signal(signal.SIGSTOP)
        asyncio.run(stream.produce(settings, stream.records(seed=6, count=300)))
        wait_counted(settings, 60)
        check(settings)
        first.signal(signal.SIGCONT)
        asyncio.run(stream.produce(settings, stream.records(seed=7, count=300)))
        wait_counted(settings, 60)
        check(settings)


def test_entries_that_are_no_events_become_dead_letters(settings: Settings, worker: Service) -> None:
    """What cannot be read is kept with its address and reason; the rest of its record counts."""
    good = {
        "kind": "interaction", "v": 1, "occurred_at": stream.START_MS, "platform": "twitter",
        "account": "GansuTravel", "action": "like", "hashtags": [],
    }  # fmt: skip
    bad = [b"not json", b'[{"kind":"interaction"', b"\xff\xfe"]
    mixed = [
        good | {"event_id": "a"},
        good | {"event_id": "b", "v": 2},
        good | {"event_id": "c", "action": "applaud"},
        good,
        17,
        good | {"event_id": "d"},
    ]
    values = [*bad, json.dumps(mixed).encode(), json.dumps(good | {"event_id": "single"}).encode()]
    asyncio.run(stream.produce(settings, [(0, value) for value in values]))
    with worker:
        worker.wait_ready()
        eventually(
            lambda: asyncio.run(stream.checkpoints(settings)).get(0, {"offset": -1})["offset"] == 4,
            20,
            "counted",
        )
        dead_letters = [
            json.loads(record.value or b"")
            for record in asyncio.run(read_topic(settings, qualified(settings.namespace, REJECTED.name)))
        ]
        assert [(each["offset"], each["index"], each["reason"]) for each in dead_letters] == [
            (0, 0, "not_json"),
            (1, 0, "not_json"),
            (2, 0, "not_json"),
            (3, 1, "unsupported_version"),
            (3, 2, "bad_value"),
            (3, 3, "missing_field"),
            (3, 4, "bad_value"),
        ]
        assert b64decode(dead_letters[0]["raw"]) == b"not json"
        checkpoint = asyncio.run(stream.checkpoints(settings))[0]
        assert (checkpoint["counted"], checkpoint["rejected"]) == (3, 7)
        assert (
            worker.metrics()[
                f'fanpulse_rejected_entries_total{{namespace="{settings.namespace}",partition="0"}}'
            ]
            == 7
        )


def test_a_changed_horizon_is_refused_at_start(settings: Settings, worker: Service) -> None:
    """Another duplicate rule than the stream was counted with ends the start with a line that says so."""
    asyncio.run(stream.produce(settings, stream.records(seed=8, count=20)))
    with worker:
        worker.wait_ready()
        wait_counted(settings)
        assert worker.stop() == 0
    worker.environment["FANPULSE_AGGREGATE_DEDUP_SEGMENTS"] = "3"
    with worker:
        assert worker.process.wait(30) != 0
    assert "dedup_segments and dedup_segment_seconds are 250000, 3 and 604800" in worker.log.read_text()


def test_a_worker_that_left_its_group_unseen_ends_itself(settings: Settings, tmp_path: Path) -> None:
    """A worker whose membership has ended without an error ends with 70 and the reason; what another worker
    then counts is exact."""
    lost = Service("aggregate", settings, tmp_path / "lost.log", free_port(), **FLUSH_OFTEN)
    asyncio.run(stream.produce(settings, stream.records(seed=8, count=100)))
    with (tmp_path / "lost.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.lost_member"],
            env=lost.environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        assert process.wait(60) == EXIT_FAILED
    finally:
        process.kill()
    assert "the worker's membership of its group has ended" in lost.log.read_text()
    asyncio.run(stream.produce(settings, stream.records(seed=9, count=100)))
    with Service("aggregate", settings, tmp_path / "next.log", free_port(), **FLUSH_OFTEN) as following:
        following.wait_ready()
        wait_counted(settings)
        check(settings)
