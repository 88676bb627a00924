"""Points in a worker at which it can be killed or paused, put around the aggregator's own functions.

The product has no failpoints. Its functions are wrapped when a worker of these tests starts; a worker that
passes a point looks for orders in a file. Just before the signal it appends to another file which point was
struck, and whether it was processing.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from services.aggregate import service
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.kafka import warm_up
from services.aggregate.kafka.checkpoint_store import KafkaCheckpointStore
from services.aggregate.kafka.partition_manager import PartitionManager
from services.aggregate.kafka.storage import KafkaStorage
from services.aggregate.kafka.warm_up import WarmUp
from tests.faults.plan import Order
from tests.faults.wrapping import Function, wrap

#: What the running task is doing: "fence", "commit", "on_revoked".
_activity: ContextVar[str] = ContextVar("activity", default="")
#: The store that the running task commits to.
_store: ContextVar[KafkaCheckpointStore | None] = ContextVar("store", default=None)


class Failpoints:
    """The points of this process, and its files of orders (read) and marks (written)."""

    def __init__(self, orders: Path, marks: Path) -> None:
        self._orders = orders
        self._marks = marks
        self._passed = 0
        self._timer: threading.Timer | None = None
        self._striking = threading.Lock()
        self._woken = False
        self._paused_in: KafkaCheckpointStore | None = None
        self.aggregator: service.Aggregator | None = None
        self.committed: dict[int, int] = {}  # partition -> next offset, as stored
        self.loading: list[int] = []
        self.in_load = False

    def passing(self, point: str) -> None:
        """Strike if that is what the first order says."""
        order = self._order()
        if order is None:
            return
        if order.point == "anywhere":
            if self._timer is None:
                self._timer = threading.Timer(order.delay_ms / 1000, self.strike, [order])
                self._timer.daemon = True
                self._timer.start()
        elif order.point == point:
            self._passed += 1
            if self._passed == order.nth:
                self.strike(order)

    def expects(self, point: str) -> bool:
        """Whether the next strike is to be at a point."""
        order = self._order()
        return order is not None and order.point == point

    def delay(self) -> float:
        """Seconds for which a commit goes on before the strike; 0 if it is not to be struck."""
        order = self._order()
        return order.delay_ms / 1000 if order and order.point == "commit.half" else 0.0

    def strike(self, order: Order) -> None:
        """Leave a mark and send the signal to this process: once for each order, from whichever thread."""
        with self._striking:
            if self._order() == order:
                self._strike(order)

    def _strike(self, order: Order) -> None:
        write_orders(self._orders, json.loads(self._orders.read_text())[1:])
        self.mark(struck=order.point, signal=order.signal, at=time.time(), **self._business())
        # To this thread, which then goes no step further; the signal still ends or stops the whole process.
        signal.pthread_kill(threading.get_ident(), signal.Signals[order.signal])
        # Here only after a pause.
        self._paused_in = _store.get()
        self._passed, self._timer, self._woken = 0, None, True
        self.mark(woken=order.point, at=time.time())

    def mark(self, **content: Any) -> None:
        """Append a line for the test."""
        with self._marks.open("a") as file:
            file.write(json.dumps(content) + "\n")

    def outcome(self, found: str) -> None:
        """Note how the commit ended that was paused; if none was, the first one after the pause."""
        if self._woken and self._paused_in in (None, _store.get()):
            self._woken = False
            self.mark(outcome=found)

    def _order(self) -> Order | None:
        try:
            content = self._orders.read_text()
        except FileNotFoundError:
            return None
        orders = json.loads(content)
        return Order(**orders[0]) if orders else None

    def _business(self) -> dict[str, Any]:
        """Partitions owned or being loaded; records counted and not committed, and records that wait."""
        owned = list(self.aggregator.partition_manager.owned.values()) if self.aggregator else []
        uncommitted = waiting = 0
        for each in owned:
            counted_to = each.state.offset + 1
            uncommitted += counted_to - self.committed.get(each.state.partition, counted_to)
            with suppress(AssertionError):  # in a rebalance the consumer knows no partition
                waiting += max(0, (each.highwater() or 0) - counted_to)
        partitions = [each.state.partition for each in owned] or self.loading
        return {"partitions": partitions, "uncommitted": uncommitted, "waiting": waiting}


def write_orders(path: Path, orders: list[dict[str, Any]]) -> None:
    """Replace the orders at once, so that nobody reads half of them."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(orders))
    fresh.rename(path)


def install(points: Failpoints) -> None:
    """Put the points around the aggregator's functions in this process."""
    _install_in_store(points)
    _install_in_producer(points)
    _install_in_loading(points)
    _install_in_ownership(points)


def _install_in_store(points: Failpoints) -> None:
    def fence(original: Function) -> Function:
        async def fenced(store: KafkaCheckpointStore) -> None:
            _activity.set("fence")
            await original(store)
            points.passing("fence.done")

        return fenced

    def commit(original: Function) -> Function:
        async def committed(
            store: KafkaCheckpointStore, changes: Any, next_offset: int, dead_letters: Any
        ) -> None:
            before, owner = _activity.set("commit"), _store.set(store)
            try:
                points.passing("flush.begin")
                await original(store, changes, next_offset, dead_letters)
            except Exception as error:
                points.outcome(type(error).__name__)
                raise
            else:
                points.outcome("committed")
                points.committed[store._partition] = next_offset
            finally:
                _activity.reset(before)
                _store.reset(owner)

        return committed

    wrap(KafkaCheckpointStore, "fence", fence)
    wrap(KafkaCheckpointStore, "commit", commit)


def _install_in_producer(points: Failpoints) -> None:
    def after(point: str) -> Callable[[Function], Function]:
        def make(original: Function) -> Function:
            async def passed(*args: Any, **options: Any) -> Any:
                result = await original(*args, **options)
                if _activity.get() == "commit":
                    points.passing(point)
                return result

            return passed

        return make

    def commit(original: Function) -> Function:
        async def ended(producer: AIOKafkaProducer) -> None:
            if _activity.get() != "commit":
                await original(producer)
                return
            ending = asyncio.ensure_future(original(producer))
            if delay := points.delay():
                await asyncio.wait([ending], timeout=delay)  # it is on its way to the broker, or done
            points.passing("commit.half")
            await ending
            points.passing("commit.done")

        return ended

    wrap(AIOKafkaProducer, "begin_transaction", after("flush.begun"))
    wrap(AIOKafkaProducer, "send_batch", after("flush.sent"))
    wrap(AIOKafkaProducer, "send_offsets_to_transaction", after("commit.offsets"))
    wrap(AIOKafkaProducer, "commit_transaction", commit)


def _install_in_loading(points: Failpoints) -> None:
    def load(original: Function) -> Function:
        async def loaded(*args: Any) -> dict[int, PartitionState]:
            points.passing("load.begin")
            points.in_load = True
            try:
                states: dict[int, PartitionState] = await original(*args)
            finally:
                points.in_load = False
            points.committed = {partition: state.offset + 1 for partition, state in states.items()}
            return states

        return loaded

    def rebuild_dedup(original: Function) -> Function:
        def rebuilt(state: PartitionState, offset: int, data: bytes | None) -> None:
            points.passing("rebuild.load" if points.in_load else "rebuild.warm_up")
            original(state, offset, data)

        return rebuilt

    def start(original: Function) -> Function:
        def started(self: WarmUp) -> None:
            if not points.expects("rebuild.load"):  # else it would leave nothing to be read later
                original(self)

        return started

    def take(original: Function) -> Function:
        async def taken(self: WarmUp) -> Any:
            if self._task is not None and points.expects("rebuild.warm_up"):
                # On a busy machine the assignment would end it before it comes to the point.
                await asyncio.wait([self._task])
            return await original(self)

        return taken

    def read_entries(original: Function) -> Function:
        async def read(*args: Any) -> None:
            await original(*args)
            if points.in_load:
                points.passing("load.entries")

        return read

    wrap(KafkaStorage, "read_entries", read_entries)
    wrap(warm_up, "load_states", load)
    wrap(warm_up, "rebuild_dedup", rebuild_dedup)
    wrap(WarmUp, "start", start)
    wrap(WarmUp, "take", take)


def _install_in_ownership(points: Failpoints) -> None:
    def build(original: Function) -> Function:
        def built(settings: Any) -> service.Aggregator:
            aggregator: service.Aggregator = original(settings)
            points.aggregator = aggregator
            return aggregator

        return built

    def on_assigned(original: Function) -> Function:
        async def taken(self: PartitionManager, partitions: Any) -> None:
            assert points.aggregator is not None
            points.mark(url=points.aggregator.endpoint.url)
            points.loading = sorted(partitions)
            points.passing("assign.begin")
            await original(self, points.loading)

        return taken

    def on_revoked(original: Function) -> Function:
        async def given(self: PartitionManager) -> None:
            points.passing("revoke.begin")
            before = _activity.set("on_revoked")
            await original(self)
            _activity.reset(before)

        return given

    def flush(original: Function) -> Function:
        async def flushed(self: PartitionManager) -> None:
            points.passing("anywhere")
            await original(self)
            if _activity.get() == "on_revoked":
                points.passing("revoke.flushed")

        return flushed

    wrap(service, "build", build)
    wrap(PartitionManager, "on_assigned", on_assigned)
    wrap(PartitionManager, "on_revoked", on_revoked)
    wrap(PartitionManager, "_flush_all", flush)
