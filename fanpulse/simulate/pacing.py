"""How the scenario is cut into requests, and when each is due. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from fanpulse.simulate.noise import ACCEPTED, DUPLICATE, Item

MAX_EVENTS = 400
#: A request every tenth of a second while events come.
TICK_MS = 100
#: However fast it goes, a request spans no more event time than this: events that are further ahead of the
#: newest one that ingest knows than five minutes are refused, and a few requests are under way at a time.
MAX_SPAN_MS = 30_000
#: Every so many ticks, an event or two are sent alone, as a webhook would.
_SINGLES_EVERY = 12
_SINGLES = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """One request. ``due_ms`` is the event time at which all of it has happened."""

    due_ms: int
    items: tuple[Item, ...]
    alone: bool = False

    @property
    def first(self) -> bool:
        """Whether it has to be acknowledged before anything later is sent."""
        return any(item.first for item in self.items)

    @property
    def content_type(self) -> str:
        """The type of ``body``."""
        return "application/json" if self.alone else "application/x-ndjson"

    @property
    def body(self) -> bytes:
        """The request's body: NDJSON, or the one object."""
        return self.items[0].line if self.alone else b"".join(item.line + b"\n" for item in self.items)


def batches(items: Iterable[Item], speed: float) -> Iterator[Batch]:
    """The requests for items, in order. ``speed`` is event time by real time; 0 is as fast as it goes."""
    span_ms = max(1, min(int(TICK_MS * speed), MAX_SPAN_MS)) if speed else MAX_SPAN_MS
    for number, (tick, group) in enumerate(groupby(items, key=lambda item: item.send_at_ms // span_ms)):
        due_ms = (tick + 1) * span_ms
        waiting = list(group)
        if number % _SINGLES_EVERY == 0:
            # What is no event would get another kind of answer when sent alone: 400, not a list of refusals.
            alone = [item for item in waiting[:_SINGLES] if item.expected in (ACCEPTED, DUPLICATE)]
            yield from (Batch(due_ms, (item,), alone=True) for item in alone)
            waiting = [item for item in waiting if not any(item is each for each in alone)]
        yield from _chunks(due_ms, waiting)


def _chunks(due_ms: int, items: list[Item]) -> Iterator[Batch]:
    """Batches of at most MAX_EVENTS; one that others wait for ends with the event they wait for."""
    begin = 0
    for end, item in enumerate(items, start=1):
        if item.first or end - begin == MAX_EVENTS or end == len(items):
            yield Batch(due_ms, tuple(items[begin:end]))
            begin = end
