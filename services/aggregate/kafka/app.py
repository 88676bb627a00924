"""The Faust application: the consumer group, the stream, and the timers; nothing is counted here.

Faust commits nothing and stores nothing (docs/adr/0002): the stream is read without acknowledging, and the
offsets are committed by the transactions of `store`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import faust
import structlog
from aiokafka.errors import IllegalStateError

from schemas.topics import EVENTS, qualified
from services.aggregate.kafka.checkpoint_store import group_id
from services.aggregate.kafka.consumer import POLL_RECORDS, PollBatchTransport
from services.aggregate.kafka.partition_manager import PartitionManager
from services.runtime.kafka import ssl_context
from services.runtime.settings import KafkaSettings, Settings

log = structlog.get_logger(__name__)

EXIT_FAILED = 70
#: How long Faust may take to end once all partitions have been given up.
END_SECONDS = 10.0
#: Handfuls between the poll and the counting: enough to count while the next ones are fetched.
STREAM_BUFFER = 1
#: How long records are counted without a break, and how many turns of the loop others get then. A scrape
#: takes several, from the connection to the last byte of the answer.
TIME_SLICE_SECONDS = 0.005
YIELDS = 4


class _App(faust.App):  # type: ignore[misc]
    def _create_directories(self) -> None:
        """Nothing: Faust's folders are for tables, of which there are none."""


class HealthChecks:
    """What the watchdog asks about an application. Reads Faust's and aiokafka's inner state: they tell it
    in no other way (and the integration tests run against the versions that are pinned)."""

    def __init__(self, app: faust.App, partition_manager: PartitionManager, topic: str) -> None:
        self._app = app
        self._partition_manager = partition_manager
        self._topic = topic

    def _consumer(self) -> Any:
        thread = getattr(self._app.consumer, "_thread", None)
        return getattr(thread, "_consumer", None)

    def group_membership(self) -> str | None:
        """The task that keeps this worker in the group must run, and must not hold an error."""
        coordinator = getattr(self._consumer(), "_coordinator", None)
        task = getattr(coordinator, "_coordination_task", None)
        if task is not None and task.done():
            return "the worker's membership of its group has ended"
        error = getattr(coordinator, "_pending_exception", None)
        return f"the worker's membership of its group has failed ({error})" if error else None

    def rebalance(self) -> str | None:
        """A rebalance must end."""
        return "a rebalance does not end" if self._app.rebalancing else None

    def partition_manager(self) -> str | None:
        """What is assigned must be owned: it is not after another worker has fenced us by mistake."""
        assigned = {tp.partition for tp in self._app.consumer.assignment() if tp.topic == self._topic}
        missing = sorted(assigned - self._partition_manager.owned.keys())
        return f"partitions {missing} are assigned but not owned" if missing else None

    def work(self) -> tuple[int, int]:
        """(records waiting, records counted) of the partitions owned."""
        owned = self._partition_manager.owned.values()
        waiting = sum(max(0, (each.highwater() or 0) - each.state.offset - 1) for each in owned)
        return waiting, sum(each.state.offset for each in owned)

    def storing(self) -> tuple[int, int]:
        """(records counted and not stored, records stored) of the partitions owned."""
        states = [each.state for each in self._partition_manager.owned.values()]
        return sum(s.offset - s.stored.offset for s in states), sum(s.stored.offset for s in states)


def _highwater(consumer: Any, partition: Any) -> int | None:
    """The end of a partition; None if it is not known, as in a rebalance that has begun."""
    if partition not in consumer.assignment():
        return None
    try:
        return cast(int | None, consumer.highwater(partition))
    except AssertionError:  # aiokafka knows of the rebalance before Faust does
        return None


async def _fetch_from(consumer: Any, partition: Any, offset: int) -> None:
    """Have the next poll begin at an offset. What was fetched before comes all the same, and first."""
    with suppress(IllegalStateError, TimeoutError):  # a rebalance has begun, which sets it anyhow
        await consumer.seek_wait({partition: offset})


def exit_process(reason: str, error: BaseException | None = None) -> None:
    """End the process at once: what is in memory is not stored, what is stored is right."""
    log.critical("aggregator ends itself", reason=reason, exc_info=error)
    os._exit(EXIT_FAILED)


def _end_within(seconds: float) -> None:
    """End the process after so long if it has not ended: all is stored and given up.

    Faust waits for ever for a consumer that broke off while it was being stopped. The status is that of a
    failure, since what began the end may have been one.
    """
    timer = threading.Timer(seconds, exit_process, [f"Faust has not ended within {seconds:.0f} s"])
    timer.daemon = True
    timer.start()


def credentials(kafka: KafkaSettings) -> Any:
    """Faust's form of the SASL and TLS settings; None for plain text."""
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = ssl_context(kafka) if kafka.security_protocol.endswith("SSL") else None
    if kafka.security_protocol == "SSL":
        return faust.SSLCredentials(context)
    password = kafka.sasl_password.get_secret_value() if kafka.sasl_password else None
    return faust.SASLCredentials(
        username=kafka.sasl_username,
        password=password,
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )


def create_app(
    settings: Settings, partition_manager: PartitionManager, partitions_assigned: Callable[[], None]
) -> faust.App:
    """The application, its agent registered. ``partitions_assigned`` is called after each change of
    ownership."""
    assert settings.kafka.bootstrap is not None
    session = settings.aggregate.session_timeout_seconds
    app = _App(
        group_id(settings),
        broker=[f"kafka://{address.strip()}" for address in settings.kafka.bootstrap.split(",")],
        broker_credentials=credentials(settings.kafka),
        # Nothing of Faust's own state is used, and it must commit nothing: its commits step over holes.
        broker_commit_interval=3600.0,
        broker_commit_every=10**9,
        stream_wait_empty=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        web_enabled=False,
        worker_redirect_stdouts=False,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=30_000,
        broker_session_timeout=session,
        broker_heartbeat_interval=session / 4,
        broker_rebalance_timeout=max(20.0, 2 * session),
        broker_request_timeout=max(30.0, 3 * session),  # Faust wants it above the session's
        broker_max_poll_interval=2_000_000,  # a spare worker without partitions must stay in the group
        broker_max_poll_records=POLL_RECORDS,
        stream_buffer_maxsize=STREAM_BUFFER,
        stream_recovery_delay=0.0,
        # Faust warns if nothing is committed by it; by design nothing is.
        broker_commit_livelock_soft_timeout=10**9,
    )
    app.finalize()
    app.transport = PollBatchTransport(app.conf.broker_consumer, app)
    events = app.topic(
        qualified(settings.namespace, EVENTS.name),
        value_type=bytes,
        value_serializer="raw",
        key_serializer="raw",
    )
    _register(app, events, settings, partition_manager, partitions_assigned)
    return app


async def _count(records: list[Any], partition_manager: PartitionManager) -> None:
    """Count the records of a message; scrapes and other tasks get a turn in between."""
    until = time.perf_counter() + TIME_SLICE_SECONDS
    for record in records:
        if not await partition_manager.count(
            record.partition, record.offset, record.timestamp / 1000, record.value
        ):
            return  # these were fetched before a rebalance; they come again, to whoever owns them
        if time.perf_counter() > until:
            for _ in range(YIELDS):
                await asyncio.sleep(0)
            until = time.perf_counter() + TIME_SLICE_SECONDS


def _register(
    app: faust.App,
    events: Any,
    settings: Settings,
    partition_manager: PartitionManager,
    partitions_assigned: Callable[[], None],
) -> None:
    topic = events.get_topic_name()

    async def count(stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                await _count(event.message.value, partition_manager)
            except Exception as error:  # noqa: BLE001 # Faust would acknowledge the event and go on without it
                exit_process("counting failed", error)

    app.agent(events, name="count", concurrency=1)(count)

    async def assigned(*_: Any, **__: Any) -> None:
        consumer = app.consumer
        mine = [tp for tp in consumer.assignment() if tp.topic == topic]
        try:
            await partition_manager.on_assigned(tp.partition for tp in mine)
            partitions_assigned()
        except Exception as error:  # noqa: BLE001 # Faust would resume the stream on an empty state
            exit_process(f"partitions could not be taken over: {error}", error)
        for tp in mine:
            if tp.partition in partition_manager.owned:
                owned = partition_manager.owned[tp.partition]
                owned.highwater = partial(_highwater, consumer, tp)
                owned.fetch_from = partial(_fetch_from, consumer, tp)

    async def revoked(*_: Any, **__: Any) -> None:
        await _or_end(partition_manager.on_revoked(), "partitions could not be given up")

    async def ending(*_: Any, **__: Any) -> None:
        await _or_end(partition_manager.close(), "partitions could not be given up")
        _end_within(END_SECONDS)

    app.on_rebalance_complete.connect(assigned, weak=False)
    app.on_partitions_revoked.connect(revoked, weak=False)
    app.on_before_shutdown.connect(ending, weak=False)

    async def flush_loop() -> None:
        interval = settings.aggregate.flush_interval_ms / 1000
        while not app.should_stop:
            await asyncio.sleep(interval)
            await _or_end(partition_manager.flush(), "storing failed")

    app.task(flush_loop)


async def _or_end(work: Any, reason: str) -> None:
    try:
        await work
    except Exception as error:  # noqa: BLE001 # whatever it is, the state in memory can no longer be trusted
        exit_process(f"{reason}: {error}", error)
