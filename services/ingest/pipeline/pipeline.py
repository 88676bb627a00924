"""From the bytes of a request to what is to be written: admission, enrichment, packing.

Nothing here waits, writes, counts or looks at a clock by itself. The HTTP room submits the result to the
publisher (``services.ingest.http.submitter``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from schemas import codec
from schemas.dead_letter import WHOLE_BODY, encode_dead_letter
from schemas.reasons import Reason, Rejection
from schemas.structs import KINDS, Event
from services.ingest.pipeline.access import AccessRules, EventCheck
from services.ingest.pipeline.admission import (
    Admitted,
    Check,
    RejectedEvent,
    admit_at_once,
    admit_in_slices,
    admit_singles,
    foreign_format,
    members,
    split,
)
from services.ingest.pipeline.enrichment import Enrichment
from services.ingest.pipeline.known_posts import PostRecord
from services.ingest.pipeline.packing import Fragment, PackedRecords, RecordLimits, pack
from services.ingest.pipeline.publish_request import PublishRequest
from services.ingest.pipeline.stream_time import StreamTime


@dataclass(slots=True)
class Rejected:
    """A rejected event, by its place in the request."""

    index: int
    rejection: Rejection


class Outcome(NamedTuple):
    """The answer to a request once it is acknowledged. It holds no event, so a stall holds little memory."""

    #: Number of events by kind.
    accepted: dict[str, int]
    rejected: list[Rejected]
    #: Why the body as a whole was rejected.
    unreadable: Rejection | None = None


class Processed(NamedTuple):
    """A request after validation: what to write, and the outcome if it is written."""

    request: PublishRequest
    outcome: Outcome
    #: The newest event time among the accepted events; stream time may follow it once they are submitted.
    newest: int | None = None


class _Parts:
    """What a request adds up to, slice by slice."""

    def __init__(self) -> None:
        self.fragments: list[Fragment] = []
        self.posts: list[PostRecord] = []
        self.dead_letters: list[bytes] = []
        self.accepted: Counter[str] = Counter()
        self.rejected: list[Rejected] = []

    def request(self) -> PublishRequest:
        return PublishRequest(self.fragments, self.posts, self.dead_letters)


class Pipeline:
    """Turns request bodies into publish requests. Known posts and pseudonyms are all that it remembers.

    ``partitions`` and ``wall_ms`` (epoch milliseconds) are asked when needed: the number of partitions is
    known only after the service has connected.
    """

    def __init__(
        self,
        enrichment: Enrichment,
        stream_time: StreamTime,
        *,
        record_limits: RecordLimits,
        max_events: int,
        partitions: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        self._enrichment = enrichment
        self._stream_time = stream_time
        self._record_limits = record_limits
        self._max_events = max_events
        self._partitions = partitions
        self._wall_ms = wall_ms

    def process(
        self, body: bytes, *, lines: bool, source: str, rules: AccessRules | None = None
    ) -> Generator[None, None, Processed]:
        """Validate and complete the events of a body (`lines`: NDJSON), and return what to write.

        Yields after each few milliseconds of work, so that other requests can go on. Rejected events become
        dead letters, and so does a body that is not JSON as a whole. Raises TooManyEventsError.
        """
        body = codec.without_bom(body)
        if not body or body.isspace():
            return self.unreadable(body, "the body is empty", source=source)
        if foreign := foreign_format(body):
            return self.unreadable(body, foreign, source=source)
        check = self._check(rules)
        parts = _Parts()
        at_once = admit_at_once(body, lines=lines, most=self._max_events, check=check)
        if at_once is not None:
            self._add(at_once, parts, body, lines, source)
        else:
            yield
            raws = yield from split(body, lines=lines, most=self._max_events)
            if isinstance(raws, Rejection):
                return self._unreadable(body, raws, source)
            for admitted in admit_in_slices(raws, check):
                self._add(admitted, parts, body, lines, source)
                yield
        return Processed(parts.request(), Outcome(dict(parts.accepted), parts.rejected), check.newest)

    def _add(self, admitted: Admitted, parts: _Parts, body: bytes, lines: bool, source: str) -> None:
        """Complete the events of a slice."""
        request, packed = self._complete(admitted.events)
        parts.fragments += request.fragments
        parts.posts += request.posts
        parts.accepted.update(_count(admitted.events))
        rejected = admitted.rejected
        if packed.oversize:
            parts.accepted -= Counter(_count(packed.oversize))
            rejected = [*rejected, *self._oversize(body, lines, admitted, packed.oversize)]
            rejected.sort(key=attrgetter("index"))
        parts.dead_letters += self._dead_letters(rejected, source)
        parts.rejected += [Rejected(each.index, each.rejection) for each in rejected]

    def process_singles(self, bodies: list[bytes], rules: AccessRules | None = None) -> Processed | None:
        """Validate and complete bodies of one event each, as if they were one request.

        None if one of them is not one good event.
        """
        check = self._check(rules)
        events = admit_singles(bodies, check)
        if events is None:
            return None
        request, packed = self._complete(events)
        return None if packed.oversize else Processed(request, Outcome(_count(events), []), check.newest)

    def _check(self, rules: AccessRules | None) -> Check:
        times = self._stream_time.check()
        return times if rules is None else EventCheck(rules, times)

    def unreadable(self, body: bytes, detail: str, *, source: str) -> Processed:
        """A body that cannot be read as JSON becomes one dead letter."""
        return self._unreadable(body, Rejection("", Reason.NOT_JSON, detail), source)

    def _unreadable(self, body: bytes, rejection: Rejection, source: str) -> Processed:
        dead_letters = self._dead_letters([RejectedEvent(WHOLE_BODY, body, rejection)], source)
        return Processed(PublishRequest(dead_letters=dead_letters), Outcome({}, [], rejection))

    def _complete(self, events: list[Event]) -> tuple[PublishRequest, PackedRecords]:
        """Enrich events in place and pack them."""
        posts = self._enrichment.enrich(events)
        packed = pack(events, self._partitions(), self._record_limits)
        return PublishRequest(packed.fragments, posts), packed

    def _dead_letters(self, rejected: list[RejectedEvent], source: str) -> list[bytes]:
        now = self._wall_ms()
        return [
            encode_dead_letter(
                each.rejection,
                self._enrichment.redact(each.raw),
                source=source,
                received_at=now,
                index=each.index,
            )
            for each in rejected
        ]

    def _oversize(
        self, body: bytes, lines: bool, admitted: Admitted, oversize: list[Event]
    ) -> list[RejectedEvent]:
        """Events that are larger than a record may be; this shows only once they are complete."""
        raws = members(body, lines=lines)
        rejection = Rejection("", Reason.TOO_LARGE, f"more than {self._record_limits.bytes} bytes in the log")
        large = {id(event) for event in oversize}
        places = zip(admitted.indexes, admitted.events, strict=True)
        return [
            RejectedEvent(index, bytes(raws[index]), rejection)
            for index, event in places
            if id(event) in large
        ]


def _count(events: list[Event]) -> dict[str, int]:
    """The number of events of each kind; nearly always all are of one."""
    kinds = set(map(type, events))
    if len(kinds) == 1:
        return {KINDS[kinds.pop()]: len(events)}
    return {KINDS[kind]: count for kind, count in Counter(map(type, events)).items()}
