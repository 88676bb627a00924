"""Other builds of the aggregator, made by patching.

Broken builds have bugs that somebody might write: each must fail the suite (test_broken_builds.py), or the
suite proves nothing. ``polls_lost`` does what the libraries might do, and must pass. ``INTACT`` changes
nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import faust
from aiokafka import AIOKafkaProducer
from faust.types import TP

from services.aggregate import service
from services.aggregate.counting.entries import Change
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.kafka import checkpoint_store, warm_up
from services.aggregate.kafka.checkpoint_store import KafkaCheckpointStore
from services.aggregate.kafka.consumer import ConsumerThread
from tests.faults.wrapping import Function, wrap

INTACT = "intact"


def offset_outside() -> None:
    """The source offset (the group's, and the checkpoint that recovery goes by) is committed by a
    transaction of its own, after that of the counts: a kill in between counts the records twice."""
    stored: dict[KafkaCheckpointStore, int] = {}

    def make(commit: Function) -> Function:
        async def apart(
            self: KafkaCheckpointStore,
            changes: Sequence[Change],
            next_offset: int,
            dead_letters: Iterable[bytes],
        ) -> None:
            await commit(self, changes[:-1], stored.get(self, 0), dead_letters)
            await commit(self, changes[-1:], next_offset, ())
            stored[self] = next_offset

        return apart

    wrap(KafkaCheckpointStore, "commit", make)


def no_fencing() -> None:
    """Each process has a transactional id of its own, so that none fences another: a worker that wakes after
    its session writes old entries over the new owner's."""

    def make(make_producer: Function) -> Function:
        def unshared(settings: Any, **options: Any) -> Any:
            options["transactional_id"] += f"-{os.getpid()}"
            return make_producer(settings, **options)

        return unshared

    wrap(checkpoint_store, "make_producer", make)


def no_dedup() -> None:
    """Every id is new to the search for duplicates."""
    wrap(PartitionState, "apply", _on_new_ids)


def ids_forgotten() -> None:
    """After a restart the ids seen before it are gone; their number is not."""
    wrap(warm_up, "rebuild_dedup", _on_new_ids)


def at_least_once() -> None:
    """Entries are written without a transaction; the group's offset follows when they are acknowledged.

    A kill alone does no harm to this build, since there is a second defence: what a flush writes is one
    batch, which the broker appends as a whole, the checkpoint in it. But nothing fences a woken worker.
    """
    apps: list[faust.App] = []

    def built(build: Function) -> Function:
        def kept(settings: Any) -> Any:
            aggregator = build(settings)
            apps.append(aggregator.app)
            return aggregator

        return kept

    def plain(make_producer: Function) -> Function:
        def without_transactions(settings: Any, **options: Any) -> Any:
            del options["transactional_id"]
            return make_producer(settings, **options)

        return without_transactions

    def nothing(_: Function) -> Function:
        async def done(_: AIOKafkaProducer) -> None:
            """In place of the beginning and the end of a transaction."""

        return done

    def by_the_consumer(_: Function) -> Function:
        async def commit(_: AIOKafkaProducer, offsets: dict[Any, int], group: str) -> None:
            assert apps[0].conf.id == group
            await apps[0].consumer._thread.commit({TP(*where): offset for where, offset in offsets.items()})

        return commit

    wrap(service, "build", built)
    wrap(checkpoint_store, "make_producer", plain)
    wrap(AIOKafkaProducer, "begin_transaction", nothing)
    wrap(AIOKafkaProducer, "send_offsets_to_transaction", by_the_consumer)
    wrap(AIOKafkaProducer, "commit_transaction", nothing)


def at_least_once_offset_after() -> None:
    """The same with the checkpoint in a batch of its own, after the entries: without the second defence a
    kill in between counts twice."""
    at_least_once()
    offset_outside()


def polls_lost() -> None:
    """Some of the first polls bring nothing, though the consumer has moved on: the records that follow are
    handed on without those before them."""
    found = 0

    def make(poll: Function) -> Function:
        async def polled(self: ConsumerThread, *args: Any) -> Any:
            nonlocal found
            records = await poll(self, *args)
            found += bool(records)
            return {} if records and found in LOST_POLLS else records

        return polled

    wrap(ConsumerThread, "_poll", make)


#: Which of the polls that find something ``polls_lost`` loses; twice two in a row.
LOST_POLLS = (2, 4, 5, 9, 10)

BROKEN: dict[str, Callable[[], None]] = {
    build.__name__: build
    for build in (
        offset_outside,
        no_fencing,
        no_dedup,
        ids_forgotten,
        at_least_once,
        at_least_once_offset_after,
    )
}


def install(name: str) -> None:
    """Change this process as the build is changed."""
    if name != INTACT:
        (BROKEN | {polls_lost.__name__: polls_lost})[name]()


def _on_new_ids(original: Function) -> Function:
    def on_new_ids(self: PartitionState, offset: int, data: bytes | None, *more: Any) -> Any:
        return original(self, offset, _with_new_ids(offset, data), *more)

    return on_new_ids


def _with_new_ids(offset: int, data: bytes | None) -> bytes | None:
    try:
        content = json.loads(data or b"")
    except ValueError:
        return data
    for index, entry in enumerate(content if isinstance(content, list) else [content]):
        if isinstance(entry, dict) and isinstance(entry.get("event_id"), str):
            entry["event_id"] = f"{offset}-{index}"
    return json.dumps(content).encode()
