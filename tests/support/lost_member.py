"""An aggregator that leaves its group unseen: ``python -m tests.support.lost_member``.

It is the real one, but once it owns partitions the task that keeps it in the group ends, as it does after an
error that aiokafka keeps for somebody to ask for, which Faust never does.
"""

from __future__ import annotations

import sys

from fanpulse.cli import main
from services.aggregate.kafka.app import HealthChecks

_look = HealthChecks.group_membership


def _lose_membership(self: HealthChecks) -> str | None:
    task = getattr(getattr(self._consumer(), "_coordinator", None), "_coordination_task", None)
    if task is not None and self._partition_manager.owned and not task.done():
        task.get_loop().call_soon_threadsafe(task.cancel)
    return _look(self)


if __name__ == "__main__":
    HealthChecks.group_membership = _lose_membership  # type: ignore[method-assign]
    sys.argv = ["fanpulse", "aggregate"]
    main()
