"""Gives the demo an empty stream, and ensures that one demo runs at a time."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupIdNotFound, KafkaError, NonEmptyGroup, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest

from fanpulse.devstack import state
from fanpulse.devstack.lock import FileLock, LockedError
from fanpulse.devstack.stack import STARTUP_SECONDS
from fanpulse.devstack.state_paths import StatePaths
from schemas.topics import TOPICS, qualified
from services.runtime.kafka import BrokerUnavailableError, broker_unavailable, client_options
from services.runtime.settings import Settings

_GONE_SECONDS = 30.0
#: A killed member stays in its group until its session is over: 6 seconds, and some more for the broker.
_SESSION_SECONDS = 9.0


class BusyError(RuntimeError):
    """Another demo is running. The message says where, and what to do."""


@contextmanager
def demo_lock(state_paths: StatePaths) -> Iterator[None]:
    """Hold the lock of the state folder's demo; raises BusyError if another demo holds it."""
    lock = FileLock(state_paths.state_dir / "stack" / f"{state_paths.name}.demo.lock")
    try:
        lock.acquire()
    except LockedError:
        pid = state.supervisor_pid(state_paths)
        where = f" (process {pid})" if pid else ""
        raise BusyError(
            f"a demo is already running{where}; wait for its end, stop it with Ctrl-C there, "
            "or set FANPULSE_STATE_DIR to give this one its own state folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


async def fresh_broker(state_paths: StatePaths) -> None:
    """Delete the data of an earlier demo's embedded broker, once its processes have ended.

    Raises BusyError if something else runs in the demo's namespace.
    """
    async with _no_stack_runs(state_paths):
        if state_paths.kafka.exists():
            await asyncio.to_thread(shutil.rmtree, state_paths.kafka)


@asynccontextmanager
async def _no_stack_runs(state_paths: StatePaths) -> AsyncIterator[None]:
    """Keep any stack of the namespace from starting; raises BusyError if one runs."""
    if state.is_up(state_paths):
        raise BusyError(
            f"a stack runs in the namespace {state_paths.name}; stop it with `fanpulse down` first"
        )
    lock = FileLock(state_paths.processes_lock)
    try:
        await asyncio.to_thread(lock.acquire, wait_seconds=STARTUP_SECONDS)
    except LockedError as error:
        raise BusyError(f"processes of an earlier demo do not end ({error})") from error
    try:
        yield
    finally:
        lock.release()


async def fresh_topics(settings: Settings) -> None:
    """Delete the consumer groups and topics of the namespace on an existing broker.

    Waits until the processes of an earlier demo have ended and the broker has noticed it. Raises BusyError if
    another process reads with one of the groups, and BrokerUnavailableError.
    """
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    try:
        async with _no_stack_runs(StatePaths.of(settings)):
            await admin.start()
            await _delete_groups(admin, qualified(settings.namespace, "fanpulse-"))
            await _delete_topics(admin, [qualified(settings.namespace, topic.name) for topic in TOPICS])
    except KafkaError as error:
        raise broker_unavailable(settings.kafka.bootstrap, error) from error
    finally:
        await admin.close()


async def _delete_groups(admin: AIOKafkaAdminClient, prefix: str) -> None:
    """Delete our groups of the namespace: offsets of the old topics are wrong for the new ones."""
    deadline = asyncio.get_running_loop().time() + _SESSION_SECONDS
    for group in sorted(name for name, *_ in await admin.list_consumer_groups() if name.startswith(prefix)):
        while not await _delete_group(admin, group):
            if asyncio.get_running_loop().time() > deadline:
                raise BusyError(
                    f"the consumer group {group} of this broker has members, so another demo uses it; "
                    "wait for its end"
                )
            await asyncio.sleep(0.5)


async def _delete_group(admin: AIOKafkaAdminClient, group: str) -> bool:
    """Delete a group; False if it still has members."""
    response = await admin._send_request(DeleteGroupsRequest([group]), await admin.find_coordinator(group))
    codes = {code for _, code in response.results} - {0, GroupIdNotFound.errno}
    if codes - {NonEmptyGroup.errno}:
        raise for_code(max(codes))(f"group {group} cannot be deleted")
    return not codes


async def _delete_topics(admin: AIOKafkaAdminClient, topics: list[str]) -> None:
    """Delete the topics that exist, and return once they are gone."""
    existing = set(await admin.list_topics()) & set(topics)
    if not existing:
        return
    response = await admin.delete_topics(sorted(existing))
    for name, code, *_ in response.topic_error_codes:
        if code not in (0, UnknownTopicOrPartitionError.errno):
            raise for_code(code)(f"topic {name} cannot be deleted")
    deadline = asyncio.get_running_loop().time() + _GONE_SECONDS
    while set(await admin.list_topics()) & existing:
        if asyncio.get_running_loop().time() > deadline:
            raise BrokerUnavailableError(f"topics of {existing} are still there after {_GONE_SECONDS:.0f} s")
        await asyncio.sleep(0.2)
