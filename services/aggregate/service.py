"""Composition root of the aggregator."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import faust
import structlog
from aiokafka.errors import KafkaError

from schemas.fields import account_name
from schemas.hashtags import canonical
from schemas.topics import EVENTS, REJECTED, SELECTION, TOTALS
from schemas.totals import Key
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.kafka.gaps import GapPolicy
from services.aggregate.kafka.health import BrokerContact, HealthChecks
from services.aggregate.kafka.partition_manager import PartitionManager
from services.aggregate.kafka.process_end import OrderlyEnd, exit_process, or_exit
from services.aggregate.kafka.self_metrics import SelfMetrics
from services.aggregate.kafka.source import FaustSource
from services.aggregate.kafka.storage import KafkaStorage
from services.aggregate.kafka.warm_up import StateLoader
from services.aggregate.kafka.watchdog import Progress, Watchdog
from services.aggregate.kafka.worker import Worker
from services.aggregate.series.progress_collector import ProgressCollector
from services.aggregate.series.selected_series import Selection
from services.aggregate.series.shared_top_k import SharedTopK
from services.aggregate.series.subject_collector import SubjectCollector
from services.runtime.kafka import broker_unavailable, client_options, create_topics
from services.runtime.lifecycle import STOP_SECONDS, stop_event
from services.runtime.metrics import NamespacedRegistry
from services.runtime.readiness import Holds, Readiness
from services.runtime.settings import AggregateSettings, Settings, SettingsError, own_accounts
from services.runtime.stream import Stream, StreamCheck, open_stream
from services.runtime.web import Endpoint

log = structlog.get_logger(__name__)

#: How long a start that is broken off may take to let go of its connections.
CANCEL_SECONDS = 3.0


@dataclass
class Aggregator:
    """The parts of a running aggregator."""

    app: faust.App
    partition_manager: PartitionManager
    loader: StateLoader
    selection: SharedTopK
    endpoint: Endpoint
    end: OrderlyEnd
    begin: Callable[[Stream], None]  # called with the stream before anything is read


def build(settings: Settings) -> Aggregator:
    """Put the parts together; nothing is connected yet. Raises SettingsError and UnsupportedClientError."""
    client_options(settings.kafka)  # rejects settings without a broker, before Faust gets them
    registry = NamespacedRegistry(settings.namespace)
    source, storage = FaustSource(settings), KafkaStorage(settings)
    gap_policy = GapPolicy(accept=settings.aggregate.accept_gaps)
    loader = StateLoader(storage, _dedup_window(settings.aggregate), gap_policy)
    self_metrics = SelfMetrics(registry)
    partition_manager = PartitionManager(source, storage.open, loader, self_metrics, gap_policy)
    source.subscribe(partition_manager)
    source.end = OrderlyEnd(partition_manager.unstored)
    accounts, hashtags = selections(settings.aggregate, own_accounts(settings))
    registry.register(SubjectCollector(partition_manager, accounts))
    registry.register(SubjectCollector(partition_manager, hashtags))
    registry.register(ProgressCollector(partition_manager, accounts, settings.aggregate.top_broadcasts))

    selection = SharedTopK(settings, partition_manager, (accounts, hashtags))
    partition_manager.after_assignment = selection.partitions_assigned
    app = source.app
    app.task(_flush_loop(settings, app, partition_manager))
    app.task(selection.run)
    contact = BrokerContact(
        source,
        partition_manager,
        within_seconds=settings.kafka.ready_seconds + settings.aggregate.flush_interval_ms / 1000,
    )
    app.task(_watch(settings, app, HealthChecks(source, partition_manager), contact))
    readiness = Readiness(registry, "connecting to the broker")
    app.task(readiness.watch)

    def begin(stream: Stream) -> None:
        source.partitions, storage.stream = stream.partitions(), stream
        check = StreamCheck(
            settings, stream, self_metrics.surplus_records.set, self_metrics.wrong_topic_settings.set
        )
        source.before_assignment = check.require_unchanged
        app.task(_check_stream(check))
        assigned = Holds("no partitions have been assigned yet", lambda: partition_manager.ready)
        readiness.require(assigned.fault, *contact.conditions, check.broker.fault)
        readiness.enter(None)

    endpoint = Endpoint(
        registry,
        readiness,
        host=settings.aggregate.metrics_host,
        port=settings.aggregate.metrics_port,
    )
    return Aggregator(app, partition_manager, loader, selection, endpoint, source.end, begin)


def _dedup_window(aggregate: AggregateSettings) -> DedupWindow:
    return DedupWindow(
        aggregate.dedup_segment_events, aggregate.dedup_segments, aggregate.dedup_segment_seconds * 1000
    )


def _flush_loop(
    settings: Settings, app: faust.App, partition_manager: PartitionManager
) -> Callable[[], Awaitable[None]]:
    async def flush_loop() -> None:
        while not app.should_stop:
            await asyncio.sleep(settings.aggregate.flush_interval_ms / 1000)
            await or_exit(_flush(app, partition_manager), "storing failed")

    return flush_loop


async def _flush(app: faust.App, partition_manager: PartitionManager) -> None:
    try:
        await partition_manager.flush()
    except KafkaError:
        if not app.should_stop:  # who stops says what is not stored
            raise


def _check_stream(check: StreamCheck) -> Callable[[], Awaitable[None]]:
    async def check_stream() -> None:
        await or_exit(check.run(), "the stream cannot be checked")

    return check_stream


def _watch(
    settings: Settings, app: faust.App, checks: HealthChecks, contact: BrokerContact
) -> Callable[[], Awaitable[None]]:
    session = settings.aggregate.session_timeout_seconds
    watchdog = Watchdog(
        {
            "group_membership": (checks.group_membership, 5.0),
            "rebalance": (checks.rebalance, 60.0 + 4 * session),
            "ownership": (checks.ownership, 30.0 + 2 * session),
            "log_end": (checks.log_end, 3.0),
            "progress": (Progress(checks.work).check, 30.0),
            "storing": (
                Progress(checks.storing, "counted records wait and none is stored").check,
                120.0 + 2 * settings.aggregate.flush_interval_ms / 1000,
            ),
        },
        on_failure=exit_process,
        clock=time.monotonic,
    )

    async def watch() -> None:
        while not app.should_stop:
            await asyncio.sleep(1.0)
            watchdog.poll()
            contact.look()

    return watch


def selections(aggregate: AggregateSettings, own: list[tuple[str, str]]) -> tuple[Selection, Selection]:
    """Of accounts and hashtags. ``own`` accounts, as (platform, account), always have series.

    Raises SettingsError.
    """
    accounts: list[Key] = [("account", *name) for name in own]
    for name in aggregate.tracked_accounts:
        try:
            accounts.append(("account", *account_name(name)))
        except ValueError as error:
            raise SettingsError(f"aggregate.tracked_accounts: {error}") from None
    hashtags = [("hashtag", canonical(tag)) for tag in aggregate.tracked_hashtags]
    return (
        Selection("account", accounts, aggregate.top_accounts),
        Selection("hashtag", hashtags, aggregate.top_hashtags),
    )


async def _prepare(settings: Settings, aggregator: Aggregator) -> None:
    stream = await open_stream(settings, (EVENTS, REJECTED, TOTALS, SELECTION))
    await create_topics(settings)  # those of others, so that an audit finds them
    aggregator.begin(stream)
    await aggregator.selection.start()
    await aggregator.endpoint.start()
    aggregator.loader.start_warm_up()


async def _prepared(settings: Settings, aggregator: Aggregator, stop: asyncio.Event) -> bool:
    """Prepare; False if a signal asks to stop meanwhile."""
    stopped, preparing = (
        asyncio.create_task(stop.wait()),
        asyncio.create_task(_prepare(settings, aggregator)),
    )
    await asyncio.wait({stopped, preparing}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if preparing.done():
        preparing.result()
        return True
    preparing.cancel()
    await asyncio.wait({preparing}, timeout=CANCEL_SECONDS)
    return False


async def _stop_event() -> asyncio.Event:
    return stop_event(STOP_SECONDS)


def run(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Owns the process: Faust's worker takes the loop and the signals.

    Raises SettingsError, StreamError and BrokerUnavailableError before anything is counted; ends the process
    with status 70 if it can no longer count exactly, and with status 1 if the log or the totals are no longer
    those that it counted.
    """
    # Counting makes and keeps millions of small objects without cycles; looking for cycles costs a tenth.
    # Looking at this many young ones that stay takes some 20 ms, in which nothing else is done.
    gc.set_threshold(25_000, 160, 50)
    # The consumer's thread needs Python's lock once for each record that it has decompressed. After the usual
    # 5 ms it would get the lock too late: the records are counted faster than that.
    sys.setswitchinterval(0.001)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    aggregator = build(settings)
    try:
        stop = loop.run_until_complete(_stop_event())
        if not loop.run_until_complete(_prepared(settings, aggregator, stop)):
            log.info("aggregator ended before it began")
            return
    except KafkaError as error:
        raise broker_unavailable(settings.kafka.bootstrap, error) from error
    log.info("aggregator starts", namespace=settings.namespace, metrics=aggregator.endpoint.url)
    Worker(aggregator.app, loop, stop, aggregator.end.ask).execute_from_commandline()
