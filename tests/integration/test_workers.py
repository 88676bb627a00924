"""Several aggregators that share the partitions, on a real broker."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.runtime.settings import Settings
from tests.support import stream
from tests.support.ports import free_port
from tests.support.processes import Service, eventually

FLUSH_OFTEN = {"FANPULSE_AGGREGATE_FLUSH_INTERVAL_MS": "100"}
ALL = {0, 1, 2, 3}
PARTITION = re.compile(r'partition="(\d+)"')


def worker(settings: Settings, folder: Path, name: str, **variables: str) -> Service:
    """An aggregator that is not started yet."""
    return Service("aggregate", settings, folder / f"{name}.log", free_port(), **{**FLUSH_OFTEN, **variables})


def owned(url: str) -> set[int]:
    """The partitions that a worker counts; none if it does not answer."""
    try:
        names = Service.metrics_of(url)
    except OSError:
        return set()
    offsets = [name for name in names if name.startswith("fanpulse_aggregate_offset{")]
    return {int(partition) for name in offsets for partition in PARTITION.findall(name)}


def shared(*urls: str) -> bool:
    """Whether each partition is with exactly one of these workers, and each worker has some."""
    shares = [owned(url) for url in urls]
    return all(shares) and sorted(p for share in shares for p in share) == sorted(ALL)


def series(service: Service, metric: str, label: str) -> set[str]:
    """Values of a label, over the series of a metric."""
    names = [name for name in service.metrics() if name.startswith(metric + "{")]
    return {value for name in names for value in re.findall(rf'[{{,]{label}="([^"]*)"', name)}


def produce(settings: Settings, records: Iterable[tuple[int, bytes]]) -> None:
    asyncio.run(stream.produce(settings, records))


def wait_counted(settings: Settings, seconds: float = 40) -> None:
    eventually(lambda: asyncio.run(stream.counted_all(settings)), seconds, "everything counted")


def check(settings: Settings) -> None:
    """The totals equal a recount of the log, to the unit."""
    expected, published = asyncio.run(stream.expected(settings)), asyncio.run(stream.published(settings))
    assert sum(expected.values()) > 0
    assert published == expected


@pytest.mark.parametrize(
    ("end", "seconds"), [(signal.SIGKILL, 10), (signal.SIGTERM, 5)], ids=["kill-9", "sigterm"]
)
def test_the_other_worker_takes_over(
    settings: Settings, tmp_path: Path, end: signal.Signals, seconds: float
) -> None:
    """When one of two busy workers ends, the other owns its partitions in time, and the totals are exact."""
    draining, staying = worker(settings, tmp_path, "leaving"), worker(settings, tmp_path, "staying")
    produce(settings, stream.records(seed=21, count=200))
    with draining, staying:
        draining.wait_ready()
        staying.wait_ready()
        eventually(lambda: shared(draining.url, staying.url), 30, "the partitions are shared")
        produce(settings, stream.records(seed=22, count=1000))
        draining.signal(end)
        eventually(lambda: owned(staying.url) == ALL, seconds, "the other owns all partitions")
        wait_counted(settings)
        check(settings)


def interactions(
    tags: dict[str, int], account: str, name: str, stream_time_ms: int = stream.START_MS
) -> list[dict[str, Any]]:
    """A clock record, and so many likes of an account's posts with each hashtag."""
    clock = {"kind": "clock", "v": 1, "stream_time": stream_time_ms, "source": "event"}
    return [clock] + [
        {
            "kind": "interaction", "v": 1, "event_id": f"{name}-{tag}-{number}",
            "occurred_at": stream_time_ms,
            "platform": "twitter", "account": account, "action": "like", "hashtags": [tag],
        }
        for tag, count in tags.items()
        for number in range(count)
    ]  # fmt: skip


def test_all_workers_expose_the_same_series(settings: Settings, tmp_path: Path) -> None:
    """Partitions of different tops: both workers have series for the tops of the sum, also after a restart
    of both, and a chosen hashtag's sum over workers is the recount."""
    top = {"FANPULSE_AGGREGATE_TOP_HASHTAGS": "2", "FANPULSE_AGGREGATE_TOP_ACCOUNTS": "2"}
    # In each partition one tag is ahead that no other partition has; "everywhere" and "often" win in the sum.
    records = [
        (p, json.dumps(interactions({f"only{p}": 60, "everywhere": 40, "often": 30}, f"account{p}", f"e{p}")))
        for p in sorted(ALL)
    ]
    produce(settings, [(partition, value.encode()) for partition, value in records])
    first, second = (worker(settings, tmp_path, name, **top) for name in ("first", "second"))
    tags = {"everywhere", "often", "_other"}

    def settled() -> bool:
        if not shared(first.url, second.url):
            return False
        found = [series(each, "fanpulse_hashtag_events_total", "hashtag") for each in (first, second)]
        return found == [tags, tags]

    for _ in range(2):
        with first, second:
            first.wait_ready()
            second.wait_ready()
            eventually(settled, 40, "both expose the tops of the sum")
            counts: dict[str, float] = dict.fromkeys(tags, 0)
            for each in (first, second):
                for name, value in each.metrics().items():
                    if name.startswith("fanpulse_hashtag_events_total{"):
                        counts[re.findall(r'hashtag="([^"]*)"', name)[0]] += value
            assert counts == {"everywhere": 160, "often": 120, "_other": 240}
            accounts = [series(each, "fanpulse_account_rolling", "account") for each in (first, second)]
            own = [names - {"_other"} for names in accounts]
            # Of two accounts with series, each is in one partition, and its series is on one worker.
            assert len(own[0] | own[1]) == 2
            assert first.stop() == second.stop() == 0


def test_a_restarted_worker_begins_with_the_choice(settings: Settings, tmp_path: Path) -> None:
    """From the first scrape on, a worker that comes back has the series that it had, though others tie."""
    top = {"FANPULSE_AGGREGATE_TOP_HASHTAGS": "2"}
    only = worker(settings, tmp_path, "only", **top)
    produce(settings, [(0, json.dumps(interactions({"first": 5, "second": 5}, "GansuTravel", "a")).encode())])
    with only:
        only.wait_ready()
        eventually(
            lambda: series(only, "fanpulse_hashtag_events_total", "hashtag") >= {"first", "second"},
            20,
            "chosen",
        )
        produce(settings, [(0, json.dumps(interactions({"third": 6}, "GansuTravel", "b")).encode())])
        wait_counted(settings)
        assert only.stop() == 0
    with only:
        only.wait_ready()
        assert series(only, "fanpulse_hashtag_events_total", "hashtag") == {"first", "second", "_other"}


class Supervised:
    """`fanpulse serve aggregate --workers 2`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.targets = folder / "aggregate.json"
        self.service = Service(
            "aggregate", settings, folder / "workers.log", 0, "--workers", "2", "--targets",
            str(self.targets), **FLUSH_OFTEN,
        )  # fmt: skip

    @property
    def urls(self) -> list[str]:
        [group] = json.loads(self.targets.read_text())
        return [f"http://{address}" for address in group["targets"]]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.service.log.read_text().splitlines()]

    def pids(self) -> dict[str, int]:
        """Of the workers that have been ready, the latest of each name."""
        return {line["worker"]: line["pid"] for line in self.lines if line["event"] == "worker ready"}

    def wait_shared(self) -> None:
        try:
            eventually(lambda: self.targets.exists() and shared(*self.urls), 60, "the partitions are shared")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.service.log.read_text()[-3000:]}") from None
        eventually(lambda: len(self.pids()) == 2, 20, "both are ready")


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def gone(pids: Iterable[int]) -> bool:
    return all(map(is_gone, pids))


@pytest.fixture
def supervised(settings: Settings, tmp_path: Path) -> Iterator[Supervised]:
    """Two workers under a supervisor, with something counted; nothing of them is left afterwards."""
    produce(settings, stream.records(seed=23, count=200))
    each = Supervised(settings, tmp_path)
    with each.service:
        each.wait_shared()
        yield each
    pids = each.pids().values()
    eventually(lambda: gone(pids), 20, "no worker is left")


@pytest.mark.timeout(180)
def test_workers_share_the_partitions_and_come_back(settings: Settings, supervised: Supervised) -> None:
    """Started at once, with ports of their own; one that is killed is reported, started again and gets
    partitions again; SIGTERM ends all within seconds; the totals are exact."""
    wait_counted(settings)
    before = supervised.pids()
    produce(settings, stream.records(seed=24, count=500))
    psutil.Process(before["aggregate-2"]).send_signal(signal.SIGKILL)
    eventually(lambda: supervised.pids()["aggregate-2"] != before["aggregate-2"], 30, "it came back")
    supervised.wait_shared()
    told = [line for line in supervised.lines if line["event"] == "worker exited"]
    assert [(line["worker"], line["level"], line["detail"]) for line in told] == [
        ("aggregate-2", "warning", "killed by signal 9: it was killed")
    ]
    wait_counted(settings)
    check(settings)
    pids = supervised.pids().values()
    assert supervised.service.stop(seconds=8) == 0
    assert gone(pids)


@pytest.mark.timeout(180)
def test_workers_end_with_their_supervisor(supervised: Supervised) -> None:
    """A supervisor killed -9 leaves no worker behind."""
    pids = supervised.pids().values()
    supervised.service.kill()
    eventually(lambda: gone(pids), 15, "the workers are gone")


def test_more_workers_than_partitions_are_rejected(settings: Settings, tmp_path: Path) -> None:
    """One line says how many may be, and the exit status is that of a wrong setting."""
    service = Service("aggregate", settings, tmp_path / "log", 0, "--workers", "5")
    with service:
        assert service.process.wait(30) == 2
    [line] = service.log.read_text().splitlines()
    assert "--workers 5 is more than engagement.events.v1 has partitions (4)" in line
    assert "use --workers 4 or fewer" in line


def test_a_wrong_setting_ends_the_supervisor(settings: Settings, tmp_path: Path) -> None:
    """What another start does not mend is not tried again: exit status 2, and the worker's line says why."""
    service = Service(
        "aggregate", settings, tmp_path / "log", 0, "--workers", "2",
        FANPULSE_AGGREGATE_TRACKED_ACCOUNTS='["GansuTravel"]',
    )  # fmt: skip
    with service:
        assert service.process.wait(60) == 2
    assert "'GansuTravel' is not platform:account" in service.log.read_text()
