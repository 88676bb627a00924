"""One request's way through ingest: admission, enrichment, packing, publisher, acknowledgement."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from schemas.reasons import Reason, Refusal
from schemas.structs import KINDS, Event
from services.ingest.kafka.publisher import Parcel, Publisher
from services.ingest.metrics import IngestMetrics
from services.ingest.pipeline.admission import Admitted, Refused, admit, admit_singles, members
from services.ingest.pipeline.dead_letters import letter
from services.ingest.pipeline.enrichment import Enrichment
from services.ingest.pipeline.packing import Caps, pack
from services.ingest.pipeline.stream_time import Present

#: The index of a refusal that is about a body as a whole.
WHOLE_BODY = -1


@dataclass(slots=True)
class Rejected:
    """A refused event by its place in the request."""

    index: int
    refusal: Refusal


class Outcome(NamedTuple):
    """What became of a request."""

    accepted: int
    rejected: list[Rejected]
    #: Why the body as a whole was refused.
    unreadable: Refusal | None = None


class Submitted(NamedTuple):
    """What is remembered of a request while it waits: no event, so that a stall holds little memory.

    ``acknowledged`` is done when all of it is in the log, or fails with a PublishError.
    """

    acknowledged: asyncio.Future[None]
    accepted: dict[type, int]
    rejected: list[Rejected]
    unreadable: Refusal | None = None


class Together(NamedTuple):
    """Bodies of one good event each, submitted as one parcel."""

    acknowledged: asyncio.Future[None]
    accepted: dict[type, int]


class Intake:
    """Takes bodies in. What it reports as done is in the log, acknowledged by all replicas."""

    def __init__(
        self,
        publisher: Publisher,
        enrichment: Enrichment,
        present: Present,
        metrics: IngestMetrics,
        *,
        caps: Caps,
        max_events: int,
        wall_ms: Callable[[], int],
    ) -> None:
        self._publisher = publisher
        self._enrichment = enrichment
        self._present = present
        self._metrics = metrics
        self._caps = caps
        self._max_events = max_events
        self._wall_ms = wall_ms

    def submit(self, body: bytes, *, lines: bool, source: str) -> Submitted:
        """Judge a body's events (`lines`: NDJSON) and hand them to the publisher.

        Refused events go as dead letters, and so does a body that is no JSON as a whole. Raises
        TooManyEventsError and PublishError.
        """
        gate = self._present.gate()
        admitted = admit(body, lines=lines, most=self._max_events, gate=gate)
        if isinstance(admitted, Refusal):
            return self.refuse(body, admitted, source=source)
        events, refused = admitted.events, admitted.refused
        learned = self._enrichment.enrich(events)
        packed = pack(events, self._publisher.partitions, self._caps)
        accepted = _numbers(events)
        if packed.oversize:
            accepted = Counter(accepted) - Counter(_numbers(packed.oversize))
            refused = [*refused, *self._oversize(body, lines, admitted, packed.oversize)]
            refused.sort(key=attrgetter("index"))
        letters = self._letters(refused, source) if refused else ()
        future = self._publisher.submit(Parcel(packed.fragments, learned, letters))
        self._present.saw(gate.newest)
        return Submitted(future, accepted, [Rejected(each.index, each.refusal) for each in refused])

    def submit_together(self, bodies: list[bytes]) -> Together | None:
        """Hand bodies of one event each to the publisher as one parcel.

        None, and nothing is submitted, if one of them is not one good event. Raises PublishError.
        """
        gate = self._present.gate()
        events = admit_singles(bodies, gate)
        if events is None:
            return None
        learned = self._enrichment.enrich(events)
        packed = pack(events, self._publisher.partitions, self._caps)
        if packed.oversize:
            return None
        future = self._publisher.submit(Parcel(packed.fragments, learned))
        self._present.saw(gate.newest)
        return Together(future, _numbers(events))

    def count(self, accepted: dict[type, int]) -> None:
        """Count events that have been acknowledged."""
        for kind, count in accepted.items():
            self._metrics.accepted_of[KINDS[kind]].inc(count)

    def settle(self, submitted: Submitted) -> Outcome:
        """Count what has been acknowledged, and what was refused with it."""
        assert submitted.acknowledged.done()
        self.count(submitted.accepted)
        for each in submitted.rejected:
            self._metrics.rejected_of[each.refusal.reason].inc()
        if submitted.unreadable is not None:
            self._metrics.rejected_of[submitted.unreadable.reason].inc()
        return Outcome(sum(submitted.accepted.values()), submitted.rejected, submitted.unreadable)

    def refuse(self, body: bytes, refusal: Refusal, *, source: str) -> Submitted:
        """Hand a whole body to the publisher as a dead letter. Raises PublishError."""
        letters = self._letters([Refused(WHOLE_BODY, body, refusal)], source)
        return Submitted(self._publisher.submit(Parcel(letters=letters)), {}, [], refusal)

    def _letters(self, refused: list[Refused], source: str) -> list[bytes]:
        now = self._wall_ms()
        return [
            letter(each.refusal, each.raw, source=source, received_at=now, index=each.index)
            for each in refused
        ]

    def _oversize(self, body: bytes, lines: bool, admitted: Admitted, oversize: list[Event]) -> list[Refused]:
        """Events that turned out, once complete, to be larger than a record may be."""
        raws = members(body, lines=lines)
        refusal = Refusal("", Reason.TOO_LARGE, f"more than {self._caps.bytes} bytes in the log")
        large = {id(event) for event in oversize}
        places = zip(admitted.indexes, admitted.events, strict=True)
        return [Refused(index, raws[index], refusal) for index, event in places if id(event) in large]


def _numbers(events: list[Event]) -> dict[type, int]:
    """How many events of each kind; mostly all are of one."""
    kinds = set(map(type, events))
    return {kinds.pop(): len(events)} if len(kinds) == 1 else Counter(map(type, events))
