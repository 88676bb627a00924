"""Follows engagement.totals.v1: all partitions, from the start, committed records only."""

from __future__ import annotations

import time
from types import TracebackType
from typing import NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.topics import TOTALS, qualified
from services.runtime.kafka import broker_unavailable, make_consumer, partitions_of
from services.runtime.lifecycle import close_within
from services.runtime.readiness import Standstill
from services.runtime.settings import Settings

#: Longest wait for records. A minute without counts closes at most this much later; totals never wait.
POLL_MS = 250
MAX_RECORDS = 10_000
#: How long the connection may take to close.
CLOSE_SECONDS = 1.0
#: The broker answers each POLL_MS; without an answer for so long, nobody knows where the end is.
UNKNOWN_SECONDS = 5.0


class Change(NamedTuple):
    """One record of the totals."""

    partition: int
    offset: int
    key: bytes
    value: bytes | None


class TotalsReader:
    """Reads the totals in the order of each partition. Use as ``async with``."""

    def __init__(self, settings: Settings, partitions: int | None = None) -> None:
        """``partitions`` are those of the stream; the topic may have more. None: all that it has."""
        self._settings = settings
        self._most = partitions
        self._consumer: AIOKafkaConsumer = make_consumer(
            settings, fetch_max_wait_ms=POLL_MS, max_partition_fetch_bytes=4 * 2**20
        )
        self._partitions: list[TopicPartition] = []
        self._ends: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._reached_end = time.monotonic()
        #: When each partition was fetched last: a condition of the service's readiness.
        self.fetched = Standstill(
            "the broker has answered no fetch of the totals, partitions", settings.kafka.ready_seconds
        )

    async def __aenter__(self) -> Self:
        """Connect. Raises BrokerUnavailableError."""
        try:
            await self._consumer.start()
            topic = qualified(self._settings.namespace, TOTALS.name)
            self._partitions = (await partitions_of(self._consumer, topic))[: self._most]
            self._consumer.assign(self._partitions)
            self._ends = await self._consumer.end_offsets(self._partitions)
            self._positions = await self._consumer.beginning_offsets(self._partitions)
            for partition, begin in self._positions.items():
                self._consumer.seek(partition, begin)
        except KafkaError as error:
            await self._consumer.stop()
            raise broker_unavailable(self._settings.kafka.bootstrap, error) from error
        except BaseException:
            await self._consumer.stop()
            raise
        self._reached_end = time.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await close_within(CLOSE_SECONDS, self._consumer.stop, "totals")

    @property
    def partitions(self) -> int:
        """How many partitions the totals have."""
        return len(self._partitions)

    async def poll(self) -> list[Change]:
        """The next records, if there are any; waits at most POLL_MS for the first."""
        batches = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_RECORDS)
        for partition in self._partitions:
            self._positions[partition] = await self._consumer.position(partition)
            # From the broker's last answer; before the first one, what it said at the start.
            stable = self._consumer.last_stable_offset(partition)
            self._ends[partition] = max(self._ends[partition], stable if stable is not None else -1)
        self.fetched.saw(
            (each.partition, (self._positions[each], self._consumer.last_poll_timestamp(each)))
            for each in self._partitions
        )
        if self.lag_records() == 0:
            self._reached_end = time.monotonic()
        return [
            Change(record.partition, record.offset, record.key or b"", record.value)
            for records in batches.values()
            for record in records
        ]

    def lag_records(self) -> int:
        """Committed offsets not read yet, as far as known; 0 once the end is reached.

        Counted by position, not by last record: a log may end in transaction markers.
        """
        return sum(max(0, end - self._positions[partition]) for partition, end in self._ends.items())

    def lag_seconds(self) -> float:
        """Seconds since the end was last reached; 0 at the end.

        While the broker does not answer, nobody knows the end: then the seconds since its last answer.
        """
        silent = self.fetched.seconds()
        behind = time.monotonic() - self._reached_end if self.lag_records() else 0.0
        return max(behind, silent if silent > UNKNOWN_SECONDS else 0.0)
