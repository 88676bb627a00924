"""One request's way through ingest: admission, enrichment, packing, publisher, acknowledgement."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from schemas.dead_letter import WHOLE_BODY, encode_dead_letter
from schemas.reasons import Reason, Rejection
from schemas.structs import KINDS, Event
from services.ingest.kafka.publisher import Publisher, PublishRequest
from services.ingest.metrics import IngestMetrics
from services.ingest.pipeline.admission import Admitted, RejectedEvent, admit, admit_singles, members
from services.ingest.pipeline.enrichment import Enrichment
from services.ingest.pipeline.packing import RecordLimits, pack
from services.ingest.pipeline.stream_time import StreamTime


@dataclass(slots=True)
class Rejected:
    """A refused event by its place in the request."""

    index: int
    rejection: Rejection


class Outcome(NamedTuple):
    """What became of a request."""

    accepted: int
    rejected: list[Rejected]
    #: Why the body as a whole was refused.
    unreadable: Rejection | None = None


class Submitted(NamedTuple):
    """What is remembered of a request while it waits: no event, so that a stall holds little memory.

    ``acknowledged`` is done when all of it is in the log, or fails with a PublishError.
    """

    acknowledged: asyncio.Future[None]
    accepted: dict[type, int]
    rejected: list[Rejected]
    unreadable: Rejection | None = None


class BatchResult(NamedTuple):
    """Bodies of one good event each, submitted as one parcel."""

    acknowledged: asyncio.Future[None]
    accepted: dict[type, int]


class Pipeline:
    """Takes bodies in. What it reports as done is in the log, acknowledged by all replicas."""

    def __init__(
        self,
        publisher: Publisher,
        enrichment: Enrichment,
        stream_time: StreamTime,
        metrics: IngestMetrics,
        *,
        record_limits: RecordLimits,
        max_events: int,
        wall_ms: Callable[[], int],
    ) -> None:
        self._publisher = publisher
        self._enrichment = enrichment
        self._stream_time = stream_time
        self._metrics = metrics
        self._record_limits = record_limits
        self._max_events = max_events
        self._wall_ms = wall_ms

    def submit(self, body: bytes, *, lines: bool, source: str) -> Submitted:
        """Judge a body's events (`lines`: NDJSON) and hand them to the publisher.

        Refused events go as dead letters, and so does a body that is no JSON as a whole. Raises
        TooManyEventsError and PublishError.
        """
        check = self._stream_time.check()
        admitted = admit(body, lines=lines, most=self._max_events, check=check)
        if isinstance(admitted, Rejection):
            return self.reject(body, admitted, source=source)
        events, rejected = admitted.events, admitted.rejected
        upserted = self._enrichment.enrich(events)
        packed = pack(events, self._publisher.partitions, self._record_limits)
        accepted = _numbers(events)
        if packed.oversize:
            accepted = Counter(accepted) - Counter(_numbers(packed.oversize))
            rejected = [*rejected, *self._oversize(body, lines, admitted, packed.oversize)]
            rejected.sort(key=attrgetter("index"))
        dead_letters = self._dead_letters(rejected, source) if rejected else ()
        future = self._publisher.submit(PublishRequest(packed.fragments, upserted, dead_letters))
        self._stream_time.saw(check.newest)
        return Submitted(future, accepted, [Rejected(each.index, each.rejection) for each in rejected])

    def submit_batch(self, bodies: list[bytes]) -> BatchResult | None:
        """Hand bodies of one event each to the publisher as one parcel.

        None, and nothing is submitted, if one of them is not one good event. Raises PublishError.
        """
        check = self._stream_time.check()
        events = admit_singles(bodies, check)
        if events is None:
            return None
        upserted = self._enrichment.enrich(events)
        packed = pack(events, self._publisher.partitions, self._record_limits)
        if packed.oversize:
            return None
        future = self._publisher.submit(PublishRequest(packed.fragments, upserted))
        self._stream_time.saw(check.newest)
        return BatchResult(future, _numbers(events))

    def count(self, accepted: dict[type, int]) -> None:
        """Count events that have been acknowledged."""
        for kind, count in accepted.items():
            self._metrics.accepted_of[KINDS[kind]].inc(count)

    def settle(self, submitted: Submitted) -> Outcome:
        """Count what has been acknowledged, and what was refused with it."""
        assert submitted.acknowledged.done()
        self.count(submitted.accepted)
        for each in submitted.rejected:
            self._metrics.rejected_of[each.rejection.reason].inc()
        if submitted.unreadable is not None:
            self._metrics.rejected_of[submitted.unreadable.reason].inc()
        return Outcome(sum(submitted.accepted.values()), submitted.rejected, submitted.unreadable)

    def reject(self, body: bytes, rejection: Rejection, *, source: str) -> Submitted:
        """Hand a whole body to the publisher as a dead letter. Raises PublishError."""
        dead_letters = self._dead_letters([RejectedEvent(WHOLE_BODY, body, rejection)], source)
        return Submitted(self._publisher.submit(PublishRequest(dead_letters=dead_letters)), {}, [], rejection)

    def _dead_letters(self, rejected: list[RejectedEvent], source: str) -> list[bytes]:
        now = self._wall_ms()
        return [
            encode_dead_letter(each.rejection, each.raw, source=source, received_at=now, index=each.index)
            for each in rejected
        ]

    def _oversize(
        self, body: bytes, lines: bool, admitted: Admitted, oversize: list[Event]
    ) -> list[RejectedEvent]:
        """Events that turned out, once complete, to be larger than a record may be."""
        raws = members(body, lines=lines)
        rejection = Rejection("", Reason.TOO_LARGE, f"more than {self._record_limits.bytes} bytes in the log")
        large = {id(event) for event in oversize}
        places = zip(admitted.indexes, admitted.events, strict=True)
        return [RejectedEvent(index, raws[index], rejection) for index, event in places if id(event) in large]


def _numbers(events: list[Event]) -> dict[type, int]:
    """How many events of each kind; mostly all are of one."""
    kinds = set(map(type, events))
    return {kinds.pop(): len(events)} if len(kinds) == 1 else Counter(map(type, events))
