"""An aggregator that leaves its group unseen: ``python -m tests.support.lost_member``.

It is the real one, but once it has partitions the task that keeps it in the group ends, as it does after an
error that aiokafka keeps for somebody to ask for, which Faust never does.
"""

from __future__ import annotations

import sys

from fanpulse.cli import main
from services.aggregate.kafka.source import FaustSource

_look = FaustSource.membership_problem


def _lose_membership(self: FaustSource) -> str | None:
    consumer = self.app.consumer._thread._consumer
    if consumer is not None and consumer._coordinator is not None and self.assignment():
        task = consumer._coordinator._coordination_task
        if not task.done():
            task.get_loop().call_soon_threadsafe(task.cancel)
    return _look(self)


if __name__ == "__main__":
    FaustSource.membership_problem = _lose_membership  # type: ignore[method-assign]
    sys.argv = ["fanpulse", "serve", "aggregate"]
    main()
