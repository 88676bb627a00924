"""What the broker removed too early: records that were never counted, and ids that find duplicates.

Each stops the aggregator, unless the setting aggregate.accept_gaps says to go on. Then it is told: by a log
line, a metric, the checkpoint and the audit.
"""

from __future__ import annotations

import time

import structlog

from services.aggregate.counting.gaps import gap_before
from services.aggregate.counting.partition_state import PartitionState
from services.runtime.stream import StreamError

log = structlog.get_logger(__name__)

_GO_ON = "set FANPULSE_AGGREGATE_ACCEPT_GAPS=true"


class GapError(StreamError):
    """Records of the log were removed before they were counted."""


class ForgottenIdsError(StreamError):
    """Records were removed whose ids the dedup window needs."""


class GapPolicy:
    """What to do about either: go on, or raise. ``accept`` is the setting."""

    def __init__(self, *, accept: bool = False) -> None:
        self._accept = accept

    def close_up(self, state: PartitionState, log_begin: int) -> None:
        """Pass over the gap between a state and the first record that the log has, if there is one.

        Raises GapError.
        """
        gap = gap_before(state.offset + 1, log_begin, time.time_ns() // 1_000_000)
        if gap is None:
            return
        missing = f"{gap.records:,} records (offsets {gap.begin:,} to {gap.end - 1:,})"
        if not self._accept:
            raise GapError(
                f"partition {state.partition} of the log: {missing} were removed before they were counted, "
                f"so their events are missing from every figure; {_GO_ON} to count on without them"
            )
        state.pass_over(gap)
        log.error(
            "gap passed over: records were removed before they were counted",
            partition=state.partition,
            begin=gap.begin,
            end=gap.end,
            records=gap.records,
        )

    def forget(self, state: PartitionState, events: int) -> None:
        """Note that the log no longer has so many events of the dedup window. Raises ForgottenIdsError."""
        if not self._accept:
            raise ForgottenIdsError(
                f"partition {state.partition} of the log: records of {events:,} events were removed whose "
                "ids are needed to find duplicates, so one of these events that is sent again counts twice; "
                f"{_GO_ON} to count on without them, and give the log a longer retention"
            )
        state.forgotten_ids = max(state.forgotten_ids, events)
        log.error(
            "ids forgotten: duplicates of removed events would count",
            partition=state.partition,
            events=events,
        )
