"""All workers select the same accounts and hashtags, by a topic that they share (docs/adr/0009).

If each worker selected by its own partitions, an account could have a series on one and be part of "other"
on another, and its recorded sum would be too small. So each worker writes the candidates of its partitions to
engagement.selection.v1; the owner of partition 0 selects by their sums; all follow what it wrote. If two
workers believe for a moment to own partition 0, the last record holds, again for all.

Nothing that is counted depends on this: if the broker is away, the selection stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.selection import (
    Name,
    Score,
    SelectionKey,
    candidates_key,
    decode_candidates,
    decode_key,
    decode_selected,
    encode_candidates,
    encode_key,
    encode_selected,
    selected_key,
)
from schemas.topics import SELECTION, qualified
from services.aggregate.kafka.partition_manager import PartitionManager
from services.aggregate.series.selected_series import Selection
from services.aggregate.series.top_k_candidates import Steps
from services.runtime.kafka import caught_up, make_consumer, make_producer
from services.runtime.settings import Settings

log = structlog.get_logger(__name__)

#: How often to look whether something is due.
ROUND_SECONDS = 0.5
#: How often a full selection is made again, and counts of candidates are written.
SELECT_SECONDS = 5.0
#: Selecting may take this part of a worker's time; with very many subjects it is done less often.
SHARE_OF_TIME = 0.05
#: The owner of this partition selects.
DECIDING_PARTITION = 0


class SelectionTopic:
    """The topic: what it says now, and a way to write to it."""

    def __init__(self, settings: Settings, selections: Iterable[Selection]) -> None:
        """A selection that is read is followed by the one of its scope in ``selections``."""
        self._settings = settings
        self._topic = TopicPartition(qualified(settings.namespace, SELECTION.name), 0)
        self._selections = {selection.scope: selection for selection in selections}
        self._consumer: AIOKafkaConsumer
        self._producer: AIOKafkaProducer
        #: The latest value of each key.
        self.values: dict[SelectionKey, bytes] = {}

    async def start(self) -> None:
        """Connect, and read what there is, so that a restart begins with the selection that holds.

        Raises KafkaError.
        """
        self._producer = make_producer(self._settings, request_timeout_ms=10_000)
        await self._producer.start()
        self._consumer = make_consumer(self._settings, fetch_max_wait_ms=200)
        await self._consumer.start()
        self._consumer.assign([self._topic])
        await self._consumer.seek_to_beginning(self._topic)
        ends = await self._consumer.end_offsets([self._topic])
        while not await caught_up(self._consumer, ends):
            await self._read_some()

    async def follow(self) -> None:
        """Read on, until cancelled."""
        while True:
            try:
                await self._read_some()
            except KafkaError as error:
                log.warning("the shared top K cannot be read", error=str(error))
                await asyncio.sleep(ROUND_SECONDS)

    async def stop(self) -> None:
        """Disconnect; safe to repeat."""
        await self._consumer.stop()
        await self._producer.stop()

    async def write(self, key: SelectionKey, value: bytes) -> None:
        """Write a record. Raises KafkaError."""
        await self._producer.send_and_wait(
            self._topic.topic, value, encode_key(key), partition=self._topic.partition
        )

    async def _read_some(self) -> None:
        batches = await self._consumer.getmany(self._topic, timeout_ms=500)
        for record in batches.get(self._topic, ()):
            self._take(record.key or b"", record.value or b"")

    def _take(self, key_bytes: bytes, value: bytes) -> None:
        try:
            key = decode_key(key_bytes)
            if key[:1] == ("selected",) and key[1] in self._selections:
                self._selections[str(key[1])].follow(decode_selected(value))
        except (msgspec.DecodeError, IndexError) as error:
            log.warning("a record of the shared top K cannot be read", error=str(error))
        else:
            self.values[key] = value


class SharedTopK:
    """This worker's part in the selection."""

    def __init__(
        self, settings: Settings, partition_manager: PartitionManager, selections: Iterable[Selection]
    ) -> None:
        self._partition_manager = partition_manager
        self._selections = list(selections)
        self._log = SelectionTopic(settings, self._selections)
        self._partitions_assigned = asyncio.Event()
        self._due: dict[str, float] = {}
        self._written_at: dict[SelectionKey, float] = {}

    async def start(self) -> None:
        """Begin with the selection that holds. Raises KafkaError."""
        await self._log.start()

    def partitions_assigned(self) -> None:
        """Partitions have been assigned: select at once."""
        self._due.clear()
        self._partitions_assigned.set()

    async def run(self) -> None:
        """Read, write and select, until cancelled."""
        follow = asyncio.create_task(self._log.follow())
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._partitions_assigned.wait(), ROUND_SECONDS)
                self._partitions_assigned.clear()
                if follow.done():
                    follow.result()
                for selection in self._selections:
                    await self._select_if_due(selection)
        finally:
            follow.cancel()
            await self._log.stop()

    async def _select_if_due(self, selection: Selection) -> None:
        started = time.monotonic()
        if started < self._due.get(selection.scope, 0.0):
            return
        self._due[selection.scope] = started + ROUND_SECONDS
        own: dict[int, dict[Name, Score]] = {}
        busy_seconds = 0.0
        for partition, owned in list(self._partition_manager.owned.items()):
            own[partition], seconds = await _in_steps(selection.candidates(owned.state))
            busy_seconds += seconds
        if not own.keys() <= self._partition_manager.owned.keys():
            return  # a rebalance came in between; the next owners look at them
        if selection.full:
            wait = max(SELECT_SECONDS, busy_seconds / SHARE_OF_TIME)
            self._due[selection.scope] = started + wait
        try:
            await self._write_candidates(selection.scope, own)
            await self._select(selection, own)
        except KafkaError as error:
            log.warning("the shared top K cannot be written", scope=selection.scope, error=str(error))

    async def _write_candidates(self, scope: str, own: dict[int, dict[Name, Score]]) -> None:
        """Write what has changed: new candidates at once, new counts alone less often."""
        for partition, scores in own.items():
            key = candidates_key(scope, partition)
            value, before = encode_candidates(scores), self._log.values.get(key)
            if value == before or not (scores or before):
                continue
            now = time.monotonic()
            if now < self._written_at.get(key, 0.0) + SELECT_SECONDS and _same_names(scores, before):
                continue
            self._written_at[key] = now
            await self._log.write(key, value)

    async def _select(self, selection: Selection, own: dict[int, dict[Name, Score]]) -> None:
        decided = self._log.values.get(selected_key(selection.scope))
        if DECIDING_PARTITION in own:
            others = [
                decode_candidates(value)
                for key, value in self._log.values.items()
                if key[:2] == ("candidates", selection.scope) and key[2] not in own
            ]
            selected = selection.select([*own.values(), *others])
            value = encode_selected(selected)
            if value != decided and (decided or selected):
                # It is followed when it is read: what has once been shown is there after a restart.
                await self._log.write(selected_key(selection.scope), value)
        elif not decided:
            selection.follow(selection.select(own.values()))


async def _in_steps(steps: Steps[dict[Name, Score]]) -> tuple[dict[Name, Score], float]:
    """The result, and the seconds it took; records are counted between two steps."""
    seconds = 0.0
    while True:
        started = time.perf_counter()
        try:
            next(steps)
        except StopIteration as end:
            return end.value, seconds + time.perf_counter() - started
        seconds += time.perf_counter() - started
        await asyncio.sleep(0)


def _same_names(scores: dict[Name, Score], before: bytes | None) -> bool:
    return before is not None and decode_candidates(before).keys() == scores.keys()
