"""Where the state of a partition is stored: engagement.totals.v1 and the group's offsets, in one transaction.

The order makes it exact (docs/adr/0002). A new owner first starts the producer of the partition, which fences
the old owner and ends the transaction that it left open; only then it reads what is stored (`storage`). What
it reads is final, since the old owner can write no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced, RecordListTooLargeError

from schemas.topics import EVENTS, REJECTED, TOTALS, qualified
from services.aggregate.counting.entries import Change
from services.aggregate.kafka.ports import FencedError
from services.runtime.kafka import make_producer
from services.runtime.settings import Settings
from services.runtime.stream import too_large

GROUP = "fanpulse-aggregate"
#: A batch of records as the broker takes it; aiokafka closes a batch that would grow larger.
BATCH_BYTES = 900_000


def group_id(settings: Settings) -> str:
    """The consumer group, and the Faust application's id."""
    return qualified(settings.namespace, GROUP)


class KafkaCheckpointStore:
    """The store of one source partition (ports.CheckpointStore), by a producer with a transactional id."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._settings = settings
        self._partition = partition
        self._group = group_id(settings)
        self._events = qualified(settings.namespace, EVENTS.name)
        self._totals = qualified(settings.namespace, TOTALS.name)
        self._rejected = qualified(settings.namespace, REJECTED.name)
        self._producer: AIOKafkaProducer = make_producer(
            settings,
            transactional_id=f"{self._group}-{partition}",
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES + 100_000,
            request_timeout_ms=20_000,
        )

    async def fence(self) -> None:
        """As CheckpointStore.fence: an empty transaction shuts out who had the transactional id before."""
        await self._producer.start()
        await self._producer.begin_transaction()
        await self._producer.commit_transaction()

    async def commit(
        self, changes: Sequence[Change], next_offset: int, dead_letters: Iterable[bytes]
    ) -> None:
        """As CheckpointStore.commit, in one transaction. Raises StreamError if a record is too large."""
        producer = self._producer
        try:
            await producer.begin_transaction()
            sent = [
                await producer.send(self._rejected, dead_letter) for dead_letter in dead_letters
            ] + await self._send_changes(changes)
            for result in await asyncio.gather(*sent, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
            source = TopicPartition(self._events, self._partition)
            await producer.send_offsets_to_transaction({source: next_offset}, self._group)
            await producer.commit_transaction()
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise too_large(self._settings, TOTALS, REJECTED) from error
        except ProducerFenced as error:
            raise FencedError(f"partition {self._partition} is owned by another worker") from error

    async def _send_changes(self, changes: Sequence[Change]) -> list[asyncio.Future[object]]:
        producer, sent = self._producer, []
        batch = producer.create_batch()
        for key, value in changes:
            if batch.append(key=key, value=value, timestamp=None) is None:
                batch.close()
                sent.append(await producer.send_batch(batch, self._totals, partition=self._partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)  # the first one fits, whatever its size
        batch.close()
        sent.append(await producer.send_batch(batch, self._totals, partition=self._partition))
        return sent

    async def close(self) -> None:
        """Release the connection; an open transaction is left for the next owner to end."""
        await self._producer.stop()
