"""Following engagement.posts.v1: what this process and others knew of posts before, and what others learn."""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from services.ingest.pipeline.known_posts import KnownPosts
from services.runtime.kafka import caught_up, make_consumer, partitions_of
from services.runtime.settings import Settings

_log = structlog.get_logger(__name__)
_FETCH_RECORDS = 5000


class PostsFollower:
    """Reads the topic into ``posts``: first all that is there, then what comes."""

    def __init__(self, settings: Settings, topic: str, posts: KnownPosts) -> None:
        self._topic = topic
        self._posts = posts
        self._consumer: AIOKafkaConsumer = make_consumer(settings, max_poll_records=_FETCH_RECORDS)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when all posts known so far are read. Raises BrokerUnavailableError and KafkaError."""
        await self._consumer.start()
        partitions = await partitions_of(self._consumer, self._topic)
        self._consumer.assign(partitions)
        ends = await self._consumer.end_offsets(partitions)
        while not await caught_up(self._consumer, ends):
            await self._read(timeout_ms=200)
        _log.info("posts_loaded", posts=len(self._posts))
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    async def _follow(self) -> None:
        while True:
            try:
                await self._read(timeout_ms=1000)
            except KafkaError as error:  # the producer notices too, and answers for it
                _log.warning("posts_unread", error=repr(error))
                await asyncio.sleep(1)

    async def _read(self, *, timeout_ms: int) -> None:
        batches = await self._consumer.getmany(timeout_ms=timeout_ms)
        for records in batches.values():
            for record in records:
                self._take(record)

    def _take(self, record: ConsumerRecord[bytes | None, bytes | None]) -> None:
        try:
            if record.value is not None:
                self._posts.upsert_record(record.value)
            elif record.key is not None:
                self._posts.forget(record.key)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("post_unreadable", offset=record.offset, error=str(error))
