"""The real aggregator as a process: start it, read its endpoints, end it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from fanpulse.devstack.ports import Ports
from schemas.topics import TOTALS, qualified
from schemas.totals import TotalsView
from services.aggregate.kafka.checkpoint_store import group_id
from services.runtime.settings import Settings
from services.runtime.topic_scan import read_topic
from services.supervise.environment import as_environment

END_SECONDS = 30.0
TIMEOUT_SECONDS = 900.0


@dataclass
class Worker:
    """A running aggregator."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def page(self) -> str | None:
        """/metrics; None while nothing listens. Ends the benchmark if the process has ended."""
        self._require_alive()
        try:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:  # noqa: S310
                text: str = answer.read().decode()
        except OSError:
            return None
        return text

    def _require_alive(self) -> None:
        if self.process.poll() is not None:
            last = self.log.read_text(errors="replace").splitlines()[-3:]
            raise SystemExit("the aggregator has ended:\n" + "\n".join(last))

    def ready(self) -> bool:
        """Whether it owns its partitions and has loaded them. Ends the benchmark if the process has ended."""
        self._require_alive()
        try:
            urllib.request.urlopen(f"{self.url}/readyz", timeout=30).close()  # noqa: S310
        except (urllib.error.HTTPError, OSError):
            return False
        return True

    def seen(self) -> float | None:
        """Events seen so far, duplicates included; None while the worker is not ready."""
        page = self.page() if self.ready() else None
        return None if page is None else seen(page)

    def end(self, how: signal.Signals = signal.SIGTERM) -> float:
        """Signal the process and wait for its end; seconds that it took. Safe to repeat."""
        started = time.perf_counter()
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(END_SECONDS)
        return time.perf_counter() - started


def seen(page: str) -> float:
    """Events seen according to a page of metrics, duplicates included."""
    return total(page, "fanpulse_events_counted_total") + total(page, "fanpulse_duplicate_events_total")


def total(page: str, *names: str, having: str = "") -> float:
    """Sum of the samples whose line begins with a name and contains a text; 0 if there are none."""
    starts = tuple(f"{name}{{" for name in names)
    lines = (line for line in page.splitlines() if line.startswith(starts) and having in line)
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def families(page: str) -> dict[str, Metric]:
    """The metric families of a page, by name."""
    return {family.name: family for family in text_string_to_metric_families(page)}


def start(settings: Settings, folder: Path, name: str = "aggregate") -> Worker:
    """Start `fanpulse serve aggregate` with these settings, on a free port."""
    port = Ports(folder / "ports.json").choose(name)[name]
    aggregate = settings.aggregate.model_copy(update={"metrics_port": port})
    own = settings.model_copy(update={"aggregate": aggregate, "state_dir": folder})
    log = folder / f"{name}.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "fanpulse", "serve", "aggregate"],
            env=os.environ | as_environment(own),
            stdout=file,
            stderr=file,
        )
    return Worker(process, f"http://127.0.0.1:{port}", log)


@contextlib.contextmanager
def running(settings: Settings, folder: Path, name: str = "aggregate") -> Iterator[Worker]:
    """The same, ended at the end of the block."""
    worker = start(settings, folder, name)
    try:
        yield worker
    finally:
        worker.end()


def await_seen(workers: list[Worker], events: int, pause_seconds: float = 0.2) -> None:
    """Wait until the workers together have seen all events and no record waits."""
    end = time.perf_counter() + TIMEOUT_SECONDS
    while time.perf_counter() < end:
        pages = [worker.page() for worker in workers if worker.ready()]
        known = [page for page in pages if page is not None]
        if sum(map(seen, known)) >= events and not any(waiting(page) for page in known):
            return
        time.sleep(pause_seconds)
    raise SystemExit("the aggregator did not count all events in time")


def waiting(page: str) -> float:
    """Records of the log that are not counted yet."""
    return total(page, "fanpulse_aggregate_lag_records")


def forget(settings: Settings) -> None:
    """Remove the totals and the group, so that the next worker begins at the start."""
    admin = admin_of(settings)
    delete_topics(admin, [qualified(settings.namespace, TOTALS.name)])
    end = time.perf_counter() + END_SECONDS
    while _delete_group(admin, group_id(settings)):
        if time.perf_counter() > end:
            raise SystemExit("the group of the workers does not go away")
        time.sleep(0.2)


def _delete_group(admin: AdminClient, group: str) -> bool:
    """Whether the group existed. It may still have members, or the end of a transaction may make it again."""
    try:
        admin.delete_consumer_groups([group])[group].result()
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.GROUP_ID_NOT_FOUND:
            return False
        if code != KafkaError.NON_EMPTY_GROUP:
            raise
    return True


def admin_of(settings: Settings) -> AdminClient:
    """An admin client that does not report that the broker has gone."""
    return AdminClient({"bootstrap.servers": str(settings.kafka.bootstrap), "log_level": 2})


def delete_topics(admin: AdminClient, topics: list[str]) -> None:
    """Delete topics and wait until the broker has."""
    if not topics:
        return
    for future in admin.delete_topics(topics).values():
        future.result()
    while not set(topics).isdisjoint(admin.list_topics(timeout=10).topics):
        time.sleep(0.1)


async def stored_totals(settings: Settings) -> TotalsView:
    """What engagement.totals.v1 holds, committed records only."""
    view = TotalsView()
    for record in await read_topic(settings, qualified(settings.namespace, TOTALS.name)):
        view.apply(record.partition, record.key or b"", record.value)
    return view
