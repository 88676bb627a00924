"""What the aggregator uses of the inside of Faust and aiokafka, and that it is there.

Both say in no other way whether a worker is still in its group, and let us fetch ahead in no other way. The
versions are pinned; if an upgrade renames something all the same, the worker must not start, or take a
renamed attribute for good news.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import faust
from aiokafka.record.default_records import DefaultRecordBatch
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer

#: Overridden or read, by class or module; they exist before anything is started.
OF_CLASSES: Mapping[Any, tuple[str, ...]] = {
    faust.App: ("_create_directories", "rebalancing"),
    Consumer: ("_new_consumer_thread", "_add_gap", "on_buffer_full", "assignment", "highwater", "seek_wait"),
    AIOKafkaConsumerThread: ("_create_worker_consumer", "_fetch_records", "_consumer", "on_thread_stop"),
    sys.modules[DefaultRecordBatch.__module__]: ("zstd_decode",),
}
#: Of the Faust consumer, of aiokafka's consumer in it, and of what that has once it is started.
OF_FAUST_CONSUMER = ("_thread",)
OF_CONSUMER = ("_coordinator", "_fetcher", "_subscription", "_fetch_max_wait_ms", "last_poll_timestamp")
OF_COORDINATOR = ("_coordination_task", "_pending_exception")
OF_FETCHER = ("_records",)
OF_SUBSCRIPTION = ("subscription",)


class UnsupportedClientError(RuntimeError):
    """The installed Faust or aiokafka lacks something that this aggregator relies on."""


def require(owner: Any, names: tuple[str, ...]) -> None:
    """Raises UnsupportedClientError unless an object has these attributes."""
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        raise UnsupportedClientError(
            f"{_name(owner)} has no {', '.join(missing)}: faust-streaming {version('faust-streaming')} and "
            f"aiokafka {version('aiokafka')} are not those that this release is made for"
        )


def require_classes(classes: Mapping[Any, tuple[str, ...]] = OF_CLASSES) -> None:
    """Raises UnsupportedClientError unless all that is overridden exists."""
    for owner, names in classes.items():
        require(owner, names)


def require_started(faust_consumer: Any) -> None:
    """The same for the attributes of a consumer that has joined its group."""
    require(faust_consumer, OF_FAUST_CONSUMER)
    require(faust_consumer._thread, ("_consumer",))
    consumer = faust_consumer._thread._consumer
    require(consumer, OF_CONSUMER)
    require(consumer._coordinator, OF_COORDINATOR)
    require(consumer._fetcher, OF_FETCHER)
    require(consumer._subscription, OF_SUBSCRIPTION)


def _name(owner: Any) -> str:
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}"
    return getattr(owner, "__name__", None) or _name(type(owner))
