"""What the watchdog asks about a running aggregator."""

from __future__ import annotations

import time

from services.aggregate.kafka.partition_manager import PartitionManager
from services.aggregate.kafka.ports import PartitionSource
from services.runtime.readiness import Clock, Condition, Standstill


class BrokerContact:
    """Whether the broker answers what a worker does: its fetches, and its transactions.

    Look once a second; `conditions` are those of the worker's readiness.
    """

    def __init__(
        self,
        source: PartitionSource,
        partition_manager: PartitionManager,
        *,
        within_seconds: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._source = source
        self._partition_manager = partition_manager
        self._fetched = Standstill("the broker has answered no fetch of partitions", within_seconds, clock)
        self._stored = Standstill("the broker has stored nothing of partitions", within_seconds, clock)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Fetches and transactions."""
        return self._fetched.fault, self._stored.fault

    def look(self) -> None:
        """Note where each partition stands. One whose records wait to be counted need not be fetched."""
        owned = self._partition_manager.owned.items()
        self._fetched.saw((p, (self._source.fetched_ms(p), each.state.offset)) for p, each in owned)
        self._stored.saw((p, each.stored_offset) for p, each in owned if each.unstored)


class HealthChecks:
    """Checks of a source and of what this worker does with its partitions."""

    def __init__(self, source: PartitionSource, partition_manager: PartitionManager) -> None:
        self._source = source
        self._partition_manager = partition_manager

    def group_membership(self) -> str | None:
        """This worker must stay in its group, or know that it does not."""
        return self._source.membership_problem()

    def rebalance(self) -> str | None:
        """A rebalance must end."""
        return "a rebalance does not end" if self._source.rebalancing() else None

    def ownership(self) -> str | None:
        """What is assigned must be owned: it is not after another worker has fenced us by mistake."""
        missing = sorted(self._source.assignment() - self._partition_manager.owned.keys())
        return f"partitions {missing} are assigned but not owned" if missing else None

    def log_end(self) -> str | None:
        """The log must not end before what was counted of it: then it is another log."""
        short = [
            partition
            for partition, owned in self._partition_manager.owned.items()
            if -1 < (owned.highwater() or owned.state.offset + 1) <= owned.state.offset
        ]
        return f"the log of partitions {short} ends before what was counted of it" if short else None

    def work(self) -> tuple[int, int]:
        """(records waiting, records counted) of the partitions owned."""
        owned = self._partition_manager.owned.values()
        waiting = sum(max(0, (each.highwater() or 0) - each.state.offset - 1) for each in owned)
        return waiting, sum(each.state.offset for each in owned)

    def storing(self) -> tuple[int, int]:
        """(records counted and not stored, records stored) of the partitions owned."""
        owned = self._partition_manager.owned.values()
        return sum(each.unstored for each in owned), sum(each.stored_offset for each in owned)
