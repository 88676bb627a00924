"""The composition root of ingest."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from functools import partial
from typing import Any, Never

import structlog
import uvloop
from aiokafka.errors import KafkaError

from schemas.hashtags import AliasTable
from schemas.topics import EVENTS, POSTS, REJECTED, qualified
from services.ingest.http.api import build_api
from services.ingest.http.asgi import IngestApp
from services.ingest.http.auth import ApiKeys, check_access
from services.ingest.http.connections import SilentConnections
from services.ingest.http.deadlines import Deadlines
from services.ingest.http.keys_file import KeysFile, unusable
from services.ingest.http.server import listen, make_server, with_origins
from services.ingest.http.submitter import Submitter
from services.ingest.kafka.byte_limiter import ByteLimiter
from services.ingest.kafka.posts_topic import PostsFollower
from services.ingest.kafka.producer import RecordProducer
from services.ingest.kafka.publisher import Publisher, PublishError, Topics
from services.ingest.kafka.stream_clock import ClockWriter, newest_logged
from services.ingest.metrics import IngestMetrics
from services.ingest.pipeline.access import Bounds
from services.ingest.pipeline.enrichment import Enrichment
from services.ingest.pipeline.keys import Key, KeysError
from services.ingest.pipeline.known_posts import KnownPosts
from services.ingest.pipeline.packing import RecordLimits
from services.ingest.pipeline.pipeline import Pipeline
from services.ingest.pipeline.pseudonyms import Pseudonymizer
from services.ingest.pipeline.stream_time import EventStreamTime, StreamTime, WallStreamTime
from services.runtime.kafka import broker_unavailable
from services.runtime.lifecycle import STOP_SECONDS, close_within, stop_event
from services.runtime.metrics import NamespacedRegistry
from services.runtime.pseudonym_key import actor_key
from services.runtime.readiness import Readiness
from services.runtime.settings import Settings, own_accounts
from services.runtime.stream import StreamCheck, open_stream

#: What waits for the broker at a stop gets so long, after the answers under way.
WRITE_SECONDS = 3.0

_log = structlog.get_logger(__name__)


def wall_ms() -> int:
    """The wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Service:
    """One ingest process: HTTP in front, a producer behind. Made by ``build`` in a running event loop."""

    def __init__(self, settings: Settings) -> None:
        ingest = settings.ingest
        check_access(settings)
        self._settings = settings
        self._started = False
        self._check: StreamCheck | None = None
        registry = NamespacedRegistry(settings.namespace)
        self.readiness = Readiness(
            registry, "the service starts: it connects and reads what is known of posts"
        )
        metrics = IngestMetrics(registry)
        self._keys = ApiKeys(
            ingest.api_key_hashes,
            bounds=Bounds(ingest.max_quantity, ingest.max_quantities, ingest.max_reading),
            own_accounts=own_accounts(settings) if ingest.foreign_accounts == "reject" else (),
        )
        self._keys_file = _keys_file(settings, self._keys, metrics)
        metrics.know_keys(self._keys.names)
        byte_limiter = ByteLimiter(ingest.max_pending_bytes)
        record_limits = RecordLimits(ingest.record_max_events, ingest.record_max_bytes)
        topics = Topics(*(qualified(settings.namespace, topic.name) for topic in (EVENTS, POSTS, REJECTED)))
        posts = KnownPosts(ingest.known_posts)
        self._stream_time = stream_time = _stream_time(settings)
        actors = Pseudonymizer(ingest.vip_actors, actor_key(settings))
        self.publisher = Publisher(
            partial(RecordProducer, settings),
            topics,
            record_limits=record_limits,
            byte_limiter=byte_limiter,
            ack_timeout_seconds=ingest.ack_timeout_seconds,
            metrics=metrics,
        )
        self._deadlines = Deadlines(ingest.read_timeout_seconds)
        self._follower = PostsFollower(settings, topics.posts, posts)
        self._clock = ClockWriter(self.publisher, stream_time, interval_ms=ingest.clock_interval_ms)
        metrics.watch(lambda: byte_limiter.reserved, lambda: len(posts), lambda: self._clock.ahead_ms)
        pipeline = Pipeline(
            Enrichment(posts, AliasTable(settings.hashtag_aliases), actors),
            stream_time,
            record_limits=record_limits,
            max_events=ingest.max_events,
            partitions=lambda: self.publisher.partitions,
            wall_ms=wall_ms,
        )
        self.app = IngestApp(
            build_api(registry, self.readiness),
            pipeline,
            Submitter(self.publisher, stream_time, metrics),
            self._keys,
            byte_limiter,
            metrics,
            not_ready_reason=self.readiness.reason,
            max_body_bytes=ingest.max_body_bytes,
            max_events=ingest.max_events,
            deadlines=self._deadlines,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then finish what was begun.

        Raises BrokerUnavailableError if the broker cannot be reached at the start, SettingsError if the
        address cannot be had, ProducerFailedError if the producer cannot go on, and StreamError if the topics
        are not those of the stream: what is written to them would be in no figure.
        """
        ingest = self._settings.ingest
        listener = listen(ingest.host, ingest.port)
        server = make_server(with_origins(self.app, ingest.cors_origins))
        silent = SilentConnections(server.server_state.connections, ingest.read_timeout_seconds)
        loop = asyncio.get_running_loop()
        serving = loop.create_task(server.serve(sockets=[listener]))
        stop_requested = loop.create_task(stop.wait())
        ends: set[asyncio.Future[Any]] = {serving, stop_requested, self.publisher.failed}
        helpers = [loop.create_task(each.run()) for each in (self._deadlines, silent)]
        if self._keys_file is not None:
            helpers.append(loop.create_task(self._keys_file.watch()))
            with contextlib.suppress(ValueError, RuntimeError):  # signals belong to the main thread
                loop.add_signal_handler(signal.SIGHUP, self._keys_file.reload)
        starting = loop.create_task(self._connect())
        checking: asyncio.Task[Never] | None = None
        try:
            await asyncio.wait({starting, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                helpers.append(loop.create_task(self._clock.run()))
                assert self._check is not None
                checking = loop.create_task(self._check.run())
                helpers += [checking, loop.create_task(self.readiness.watch())]
                ends.add(checking)
                self._begin(self._check)
                host, port = listener.getsockname()[:2]
                _log.info("ingest_ready", host=host, port=port, partitions=self.publisher.partitions)
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.readiness.enter("the service stops")
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)
            for task in (starting, stop_requested, *helpers):
                task.cancel()
            await asyncio.gather(starting, stop_requested, *helpers, return_exceptions=True)
            await self._disconnect()
        if checking is not None and not checking.cancelled() and (error := checking.exception()):
            raise error
        if self.publisher.failed.done():
            raise self.publisher.failed.result()

    def _begin(self, check: StreamCheck) -> None:
        """Ready: while the broker acknowledges what is written, and answers if nothing is."""
        seconds = self._settings.kafka.ready_seconds
        self.readiness.require(
            self._clock.fault, lambda: self.publisher.unacknowledged(seconds), check.broker.fault
        )
        check.broker.succeeded()
        self._started = True
        self.readiness.enter(None)

    async def _connect(self) -> None:
        try:
            stream = await open_stream(self._settings, (EVENTS, POSTS, REJECTED))
            self._check = StreamCheck(self._settings, stream)
            if isinstance(self._stream_time, EventStreamTime):
                self._stream_time.saw(await newest_logged(self._settings))
            await self.publisher.start(stream.partitions())
            await self._follower.start()
            await self._clock.write()  # it shows whether the clock is right, before any event comes in
        except KafkaError as error:
            raise broker_unavailable(self._settings.kafka.bootstrap, error) from error

    async def _disconnect(self) -> None:
        """Write the last clock record and what waits, for as long as a stop may take."""
        loop = asyncio.get_running_loop()
        until = loop.time() + WRITE_SECONDS
        if self._started and not self.publisher.failed.done():
            try:
                async with asyncio.timeout_at(until):
                    await self._clock.write()
            except (TimeoutError, PublishError) as error:
                _log.warning("last_clock_unwritten", error=repr(error))
        await close_within(0.5, self._follower.stop, "posts")
        if not await self.publisher.stop(max(0.0, until - loop.time())):
            _log.error(
                "stopped_with_unacknowledged_events",
                events=self.publisher.unacknowledged_events,
                advice="none of these was answered 202; some may be stored all the same",
            )


def _keys_file(settings: Settings, keys: ApiKeys, metrics: IngestMetrics) -> KeysFile | None:
    path = settings.ingest.keys_file
    if path is None:
        return None

    def use(named: list[Key]) -> None:
        keys.use(named)
        metrics.know_keys(keys.names)

    file = KeysFile(path, use, metrics.keys_file_unusable.set)
    try:
        file.load()
    except KeysError as error:
        raise unusable(path, error) from error
    return file


def build(settings: Settings) -> Service:
    """The service of these settings, not yet started. Raises SettingsError."""
    return Service(settings)


async def run(settings: Settings) -> None:
    """Run ingest until SIGTERM or SIGINT."""
    await build(settings).run(stop_event(STOP_SECONDS))


def main(settings: Settings) -> None:
    """Run ingest as a process of its own, on the faster event loop."""
    # What is loaded by now stays; and events refer to nothing that refers to them, so that the collector
    # rarely finds anything. Left alone it would look at everything every few requests.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))


def _stream_time(settings: Settings) -> StreamTime:
    ahead_ms = settings.ingest.max_ahead_seconds * 1000
    follow = EventStreamTime if settings.ingest.clock == "event" else WallStreamTime
    return follow(wall_ms, ahead_ms)
