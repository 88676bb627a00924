"""Cuts the scenario into requests, each with a due time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from fanpulse.simulate.noise import ACCEPTED, DUPLICATE, Item

MAX_EVENTS = 400
#: A request every tenth of a second while events come.
TICK_MS = 100
#: The most event time that a request spans at any speed. Ingest rejects events more than five minutes ahead
#: of the newest one that it knows, and a few requests are in flight at a time.
MAX_SPAN_MS = 30_000
#: Once in so many ticks, one or two events are sent alone, as a webhook would.
_SINGLES_EVERY = 12
_SINGLES = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """One request. ``due_ms`` is the event time by which all of its events have happened."""

    due_ms: int
    items: tuple[Item, ...]
    alone: bool = False

    @property
    def barrier(self) -> bool:
        """Whether nothing later may be sent before this request is acknowledged."""
        return any(item.barrier for item in self.items)

    @property
    def content_type(self) -> str:
        """The content type of ``body``."""
        return "application/json" if self.alone else "application/x-ndjson"

    @property
    def body(self) -> bytes:
        """The request's body: NDJSON, or the one object."""
        return self.items[0].line if self.alone else b"".join(item.line + b"\n" for item in self.items)


def batches(items: Iterable[Item], speed: float) -> Iterator[Batch]:
    """The requests for items, in order. ``speed`` is event time by real time; 0 is as fast as possible."""
    span_ms = max(1, min(int(TICK_MS * speed), MAX_SPAN_MS)) if speed else MAX_SPAN_MS
    for number, (tick, group) in enumerate(groupby(items, key=lambda item: item.send_at_ms // span_ms)):
        due_ms = (tick + 1) * span_ms
        waiting = list(group)
        if number % _SINGLES_EVERY == 0:
            # A malformed event gets another answer when it is sent alone: 400, and no list of rejections.
            alone = [item for item in waiting[:_SINGLES] if item.expected in (ACCEPTED, DUPLICATE)]
            yield from (Batch(due_ms, (item,), alone=True) for item in alone)
            waiting = [item for item in waiting if not any(item is each for each in alone)]
        yield from _chunks(due_ms, waiting)


def _chunks(due_ms: int, items: list[Item]) -> Iterator[Batch]:
    """Batches of at most MAX_EVENTS. A barrier is the last item of its batch."""
    begin = 0
    for end, item in enumerate(items, start=1):
        if item.barrier or end - begin == MAX_EVENTS or end == len(items):
            yield Batch(due_ms, tuple(items[begin:end]))
            begin = end
