"""Runs scenarios: in a thread of its own, several at a time, on brokers that start when needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.faults.brokers import SharedBroker
from tests.faults.builds import INTACT
from tests.faults.plan import FaultPlan
from tests.faults.scenario_run import Outcome, run_scenario

#: Scenario runs mostly wait for sessions to end; so many keep two cores at work.
AT_ONCE = 5
#: Runs that share a broker with faults of its own go in groups of this size; a group takes so many slots.
BROKER_GROUP, BROKER_GROUP_SLOTS = 3, 2


class Runner:
    """Takes plans and runs them in the order in which they came."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-runner")
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._one_group = asyncio.Lock()
        self._starting = asyncio.Lock()
        self._broker: SharedBroker | None = None
        self._jobs: list[Future[Any]] = []
        self._numbers = 0

    def submit(self, plan: FaultPlan, build: str = INTACT) -> Future[Outcome]:
        """Run a plan whose broker is no victim."""
        assert not plan.with_broker
        return self._begin(self._run_scenario(plan, build))

    def submit_group(self, plans: Sequence[FaultPlan]) -> Future[dict[int, Outcome]]:
        """Run plans in which the broker is a victim, together on one broker; outcomes by seed."""
        return self._begin(self._run_group(plans))

    def _begin(self, job: Coroutine[Any, Any, Any]) -> Future[Any]:
        self._jobs.append(asyncio.run_coroutine_threadsafe(job, self._loop))
        return self._jobs[-1]

    async def _run_scenario(self, plan: FaultPlan, build: str) -> Outcome:
        async with self._slots:
            async with self._starting:
                if self._broker is None:
                    self._broker = SharedBroker(self._folder / "broker")
                    await self._broker.start()
            return await run_scenario(plan, self._broker, self._place(plan), build)

    async def _run_group(self, plans: Sequence[FaultPlan]) -> dict[int, Outcome]:
        async with self._one_group, AsyncExitStack() as taken:
            for _ in range(BROKER_GROUP_SLOTS):
                await taken.enter_async_context(self._slots)
            broker = SharedBroker(self._folder / f"broker-of-{plans[0].seed}", len(plans))
            await broker.start()
            try:
                outcomes = await asyncio.gather(
                    *(run_scenario(plan, broker, self._place(plan)) for plan in plans)
                )
            finally:
                await broker.stop()
            return {outcome.plan.seed: outcome for outcome in outcomes}

    def _place(self, plan: FaultPlan) -> Path:
        self._numbers += 1
        return self._folder / f"{self._numbers}-seed-{plan.seed}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(120)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._broker is not None:
            await self._broker.stop()
