"""Runs a plan: workers count a log while it is written and faults strike; then everything is checked."""

from __future__ import annotations

import asyncio
import re
import signal
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.topics import EVENTS, qualified
from services.runtime.kafka import client_options, create_topics
from services.runtime.settings import KafkaSettings, Settings
from tests.faults.brokers import SharedBroker
from tests.faults.builds import INTACT
from tests.faults.check import check
from tests.faults.plan import KILLS, PAUSE, Fault, FaultPlan, Order
from tests.faults.stream import Stream
from tests.faults.worker_pool import DEDUP_WINDOW, FAILED, UNAVAILABLE, Worker, WorkerPool, until
from tests.faults.writer import Writer

PARTITIONS = 3
#: Before the first fault, so that there are ids and stored counts that a mistake could harm.
WARM_UP_RECORDS = 25
PATIENCE_SECONDS, SETTLE_SECONDS = 90.0, 30.0
AT_A_START = ("fence.done", "load.begin", "load.entries", "rebuild.warm_up", "rebuild.load")
IN_A_REBALANCE = ("revoke.begin", "revoke.flushed", "assign.begin")
_STALE = re.compile(r"^fanpulse_stale_records_total\S* (\S+)$", re.MULTILINE)
_OFFSET = re.compile(r'^fanpulse_aggregate_offset\{.*partition="(\d+)".*\} (\S+)$', re.MULTILINE)


@dataclass
class Outcome:
    """What happened in a run. ``strikes``: (kind, whether it hit a worker that was processing)."""

    plan: FaultPlan
    build: str = INTACT
    strikes: list[tuple[str, bool]] = field(default_factory=list)
    woken: Counter[str] = field(default_factory=Counter)
    ended: Counter[int] = field(default_factory=Counter)
    stale: int = 0  # records left out by the workers of the end
    events: int = 0
    seconds: float = 0.0
    error: BaseException | None = None

    def kills(self) -> list[bool]:
        """For each kill of a worker whether it was processing."""
        return [busy for kind, busy in self.strikes if kind in KILLS]

    def __str__(self) -> str:
        kills = self.kills()
        found = "FAILED" if self.error else "exact"
        woken = f", woken: {dict(self.woken)}" if self.woken else ""
        ended = f", ended by themselves: {dict(self.ended)}" if self.ended else ""
        return (
            f"seed {self.plan.seed}: {found}; {self.plan}; {len(kills)} kills, {sum(kills)} of a worker that "
            f"was processing{woken}{ended}; {self.events} events, {self.seconds:.1f} s"
        )


class ScenarioRun:
    """A run under way."""

    def __init__(self, outcome: Outcome, broker: SharedBroker, settings: Settings, folder: Path) -> None:
        self._outcome = outcome
        self._broker = broker
        self._settings = settings
        self._folder = folder
        self._admin = AIOKafkaAdminClient(**client_options(settings.kafka))
        self._writer = Writer(settings, Stream(outcome.plan.seed, PARTITIONS))
        self._pool = WorkerPool(settings, folder, outcome.build)
        self._seen: Counter[Worker] = Counter()  # strikes

    async def run_scenario(self) -> None:
        """The whole scenario; raises AssertionError if anything is not as it should be."""
        plan = self._outcome.plan
        await create_topics(self._settings)
        await self._admin.start()
        try:
            async with self._pool, self._writer:
                for _ in range(plan.workers):
                    self._pool.add()
                await self._counted_to(dict.fromkeys(range(PARTITIONS), WARM_UP_RECORDS))
                for fault in plan.faults:
                    await asyncio.sleep(fault.pause_seconds)  # the moment of a fault is drawn
                    await self._inflict(fault)
                    await self._counted_to(self._writer.ends())
                await self._writer.finish()
                await self._counted_to(self._writer.ends())
                expositions = await self._expositions()
                self._outcome.stale = sum(int(float(n)) for page in expositions for n in _STALE.findall(page))
                for each in list(self._pool.workers):
                    await self._pool.dismiss(each)
                self._outcome.events = await check(self._settings, expositions, DEDUP_WINDOW)
                may_end_with = {FAILED, *([UNAVAILABLE] if plan.with_broker else [])}
                assert self._pool.ended.keys() <= may_end_with, f"workers ended with {self._pool.ended}"
        except AssertionError as error:
            error.add_note("\n".join([*self._pool.endings, *(each.tail() for each in self._pool.workers)]))
            raise
        finally:
            self._outcome.ended = self._pool.ended
            await self._admin.close()

    # -- faults -----------------------------------------------------------------------------------------

    async def _inflict(self, fault: Fault) -> None:
        if fault.order is None:
            await self._broker.strike(fault.kind)
            self._outcome.strikes.append((fault.kind, True))
            return
        victim = self._pool.workers[fault.victim % len(self._pool.workers)]
        if fault.kind == PAUSE:
            await self._pause(victim, fault)
        elif fault.order.point in IN_A_REBALANCE:
            victim.order([fault.order])
            async with self._one_more():
                await self._strikes(victim, [(fault.kind, fault.order)])
        else:
            await self._struck(victim, fault)

    async def _struck(self, victim: Worker, fault: Fault) -> None:
        """Have a worker struck. What strikes at a start needs a kill first; then it is started again."""
        assert fault.order is not None
        orders = [(fault.kind, fault.order)]
        if fault.order.point in AT_A_START:
            orders.insert(0, ("kill at any moment", Order("anywhere")))
        victim.order(order for _, order in orders)
        await self._strikes(victim, orders)

    async def _strikes(self, victim: Worker, orders: list[tuple[str, Order]]) -> None:
        """Wait until a worker has been struck by all it was ordered."""
        for kind, order in orders:
            self._seen[victim] += 1
            await until(
                lambda: len(victim.marks("struck")) >= self._seen[victim],
                PATIENCE_SECONDS,
                f"{victim.name} is struck at {order.point}",
            )
            busy = await self._was_busy(victim.marks("struck")[self._seen[victim] - 1])
            self._outcome.strikes.append((kind, busy))

    async def _was_busy(self, mark: dict[str, object]) -> bool:
        """Whether a worker was processing when it was struck: it had records not counted or not committed."""
        if mark["uncommitted"] or mark["waiting"]:
            return True
        ends, committed = self._writer.ends(float(str(mark["at"]))), await self._committed()
        partitions = mark["partitions"]
        assert isinstance(partitions, list)
        return any(ends.get(partition, 0) > committed.get(partition, 0) for partition in partitions)

    async def _pause(self, victim: Worker, fault: Fault) -> None:
        """Stop a worker until another one owns its partitions and has counted, then let it go on."""
        assert fault.order is not None
        alone = len(self._pool.workers) == 1
        async with self._one_more() if alone else nullcontext():
            await self._struck(victim, fault)
            await self._counted_to(self._writer.ends())
            if fault.at_end:
                await self._writer.finish()
                await self._counted_to(self._writer.ends())
            woken, outcomes, ended = (len(victim.marks(name)) for name in ("woken", "outcome", "url"))
            victim.signal(signal.SIGCONT)
            await until(
                lambda: len(victim.marks("woken")) > woken, PATIENCE_SECONDS, "the paused worker goes on"
            )
            # It tries to store, and is fenced; or it has nothing to store, and gets partitions again.
            await until(
                lambda: len(victim.marks("outcome")) > outcomes or len(victim.marks("url")) > ended,
                PATIENCE_SECONDS,
                "the woken worker finds out what has happened",
            )
            for mark in victim.marks("outcome")[outcomes:]:
                self._outcome.woken[str(mark["outcome"])] += 1

    @asynccontextmanager
    async def _one_more(self) -> AsyncIterator[Worker]:
        """A further worker, which joins and leaves afterwards."""
        extra = self._pool.add()
        await until(lambda: bool(extra.marks("url")), PATIENCE_SECONDS, "a further worker joins")
        yield extra
        await self._counted_to(self._writer.ends())
        await self._pool.dismiss(extra)

    # -- progress ---------------------------------------------------------------------------------------

    async def _committed(self) -> dict[int, int]:
        topic = qualified(self._settings.namespace, EVENTS.name)
        group = qualified(self._settings.namespace, "fanpulse-aggregate")
        partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        found = await self._admin.list_consumer_group_offsets(group, partitions=partitions)
        return {partition.partition: offset.offset for partition, offset in found.items()}

    async def _counted_to(self, ends: dict[int, int]) -> None:
        """Wait until the group has committed these offsets."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        committed: dict[int, int] = {}
        while not ends or any(committed.get(partition, 0) < end for partition, end in ends.items()):
            assert time.monotonic() < deadline, f"not counted to {ends} in time, but to {committed}"
            await asyncio.sleep(0.2)
            try:
                committed = await self._committed()
            except KafkaError:
                committed = {}

    async def _expositions(self) -> list[str]:
        """/metrics of all workers, as soon as each partition is shown to its end, and by one worker only.

        After a while as they are: the check will say what is wrong.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            urls = [marks[-1]["url"] for each in self._pool.workers if (marks := each.marks("url"))]
            pages = await asyncio.gather(
                *(asyncio.to_thread(scrape, url) for url in urls), return_exceptions=True
            )
            texts = [page for page in pages if isinstance(page, str)]
            shown = sorted((int(p), int(float(n)) + 1) for page in texts for p, n in _OFFSET.findall(page))
            if shown == sorted(self._writer.ends().items()) or time.monotonic() > deadline:
                return texts
            await asyncio.sleep(0.2)


def scrape(url: str) -> str:
    """The text of a worker's /metrics."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


async def run_scenario(plan: FaultPlan, broker: SharedBroker, folder: Path, build: str = INTACT) -> Outcome:
    """Run a plan with a build, in a namespace of its own. What goes wrong is in the outcome."""
    outcome = Outcome(plan, build)
    await asyncio.to_thread(folder.mkdir, parents=True)
    settings = Settings(
        namespace=f"fault-{plan.seed}-{uuid.uuid4().hex[:8]}",
        state_dir=folder / "state",
        kafka=KafkaSettings(bootstrap=broker.bootstrap, partitions=PARTITIONS),
    )
    beginning = time.monotonic()
    try:
        await ScenarioRun(outcome, broker, settings, folder).run_scenario()
    except Exception as error:  # noqa: BLE001 # the test of this seed raises it
        outcome.error = error
    finally:
        await broker.leave()
    outcome.seconds = time.monotonic() - beginning
    return outcome
