"""Loads one file's rows into ingest: in batches, several under way at once, with an answer for each line.

The main thread reads and maps; each request has a thread of its own, which mostly waits. Answers are taken in
the order of the batches, so that what has been settled is always the file up to some row.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fanpulse.load.checkpoint import Checkpoint
from fanpulse.load.client import (
    Answer,
    GivenUpError,
    IngestRejectedError,
    IngestUnavailableError,
    Rejected,
)
from fanpulse.load.compressed import DamagedFileError
from fanpulse.load.opening import OpeningError, StoppedError
from fanpulse.load.parsing.lines import Row
from fanpulse.load.parsing.mapped import Mapped
from fanpulse.load.rate_limiter import RateLimiter
from schemas.reasons import Rejection

#: Ingest completes an interaction with what it knows of its post, and the last word on a phase stands: a
#: batch with the kind on the left waits until batches with the kinds on the right have been acknowledged.
_WAITS_FOR = {"interaction": frozenset({"post"}), "broadcast": frozenset({"broadcast"})}
_SLICE_SECONDS = 0.1
#: At a recorded speed, rows due within this time travel together.
_TOGETHER_SECONDS = 0.05


class RejectedRow(NamedTuple):
    """A row that was not accepted, for people: where it is and what is wrong with it."""

    line: int
    field: str
    reason: str
    detail: str


class Mapper(Protocol):
    """Rows to events: a TableMapper or an ObjectMapper."""

    def map(self, value: Any, /) -> Mapped: ...


class Listener(Protocol):
    """Called as a load goes on."""

    def settled(self, checkpoint: Checkpoint, rejected: list[RejectedRow]) -> None:
        """Every row up to the checkpoint has been answered; these of the last batch were rejected."""


@dataclass(frozen=True)
class Limits:
    """Sizes of batches and how many may be on their way."""

    batch_rows: int = 2000
    batch_bytes: int = 2**20
    in_flight: int = 4


@dataclass
class _Batch:
    lines: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    known: dict[int, tuple[Rejection, ...]] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    size: int = 0
    end: int = 0
    end_line: int = 0


Post = Callable[[list[bytes]], Answer]


class Loader:
    """Loads the rows of one file. ``stop()`` asks to end early: what is on its way is still settled."""

    def __init__(
        self,
        post: Post,
        mapper: Mapper,
        listener: Listener,
        *,
        limits: Limits,
        stop: Callable[[], bool],
        rate_limiter: RateLimiter | None = None,
        start: Checkpoint | None = None,
    ) -> None:
        self._post = post
        self._mapper = mapper
        self._listener = listener
        self._limits = limits
        self._stop = stop
        self._rate_limiter = rate_limiter
        self._batch = _Batch()
        self._under_way: deque[tuple[_Batch, Future[Answer]]] = deque()
        self._pool = ThreadPoolExecutor(limits.in_flight, thread_name_prefix="load")
        self._started = time.monotonic()
        self._before = start or Checkpoint()
        self._rejected = Counter(self._before.rejected)
        #: All rows up to here have been answered.
        self.checkpoint = self._before
        #: Whether a request failed for good; its error is raised by ``run``.
        self.failed = False

    def run(self, rows: Iterator[Row]) -> bool:
        """Load rows until they end or a stop is asked for; whether they ended.

        Raises IngestUnavailableError and IngestRejectedError, and OpeningError and DamagedFileError out of
        reading, after the rows before the damage have been loaded; ``checkpoint`` is right in every case.
        """
        hurried = False
        try:
            ended, damage = self._read_all(rows)
            self._send()
            self._settle_all()
        except GivenUpError:
            return False
        except KeyboardInterrupt:
            hurried = True
            raise
        finally:
            # After a failure the answers still under way no longer matter, but their threads end first.
            self._pool.shutdown(wait=not hurried, cancel_futures=True)
        if damage:
            raise damage
        return ended and not self._stop()

    def idle(self) -> None:
        """The input has nothing to read at the moment: send what there is. Raises StoppedError."""
        self._send()
        self._settle_ready()
        if self._stop():
            raise StoppedError

    def _read_all(self, rows: Iterator[Row]) -> tuple[bool, OpeningError | DamagedFileError | None]:
        """Whether the rows ended, and what is wrong with the file where they broke off."""
        try:
            return self._read(rows), None
        except StoppedError:
            return False, None
        except (OpeningError, DamagedFileError) as error:
            return False, error

    def _read(self, rows: Iterator[Row]) -> bool:
        for row in rows:
            if self._stop():
                return False
            if row.problem:
                assert isinstance(row.value, bytes)
                mapped = Mapped(row.value, None, (row.problem,))
            else:
                mapped = self._mapper.map(row.value)
            if self._rate_limiter:
                self._wait_until_due(self._rate_limiter, mapped)
                if self._stop():
                    return False
            self._add(row, mapped)
        return True

    def _add(self, row: Row, mapped: Mapped) -> None:
        batch = self._batch
        if batch.size + len(mapped.line) > self._limits.batch_bytes and batch.lines:
            self._send()
            batch = self._batch
        if mapped.rejections:
            batch.known[len(batch.lines)] = mapped.rejections
        if mapped.event:
            kind = mapped.event.get("kind")
            if isinstance(kind, str):
                batch.kinds.add(kind)
        batch.lines.append(mapped.line)
        batch.numbers.append(row.number)
        batch.size += len(mapped.line)
        batch.end, batch.end_line = row.end, row.lines
        if len(batch.lines) >= self._limits.batch_rows:
            self._send()

    def _send(self) -> None:
        batch = self._batch
        if not batch.lines:
            return
        self._batch = _Batch()
        awaited = frozenset[str]().union(*(_WAITS_FOR.get(kind, frozenset()) for kind in batch.kinds))
        while self._under_way and any(
            not awaited.isdisjoint(earlier.kinds) for earlier, _ in self._under_way
        ):
            self._settle_first()
        while len(self._under_way) >= self._limits.in_flight:
            self._settle_first()
        self._under_way.append((batch, self._pool.submit(self._post, batch.lines)))
        self._settle_ready()

    def _settle_ready(self) -> None:
        while self._under_way and self._under_way[0][1].done():
            self._settle_first()

    def _settle_all(self) -> None:
        while self._under_way:
            self._settle_first()

    def _settle_first(self) -> None:
        batch, future = self._under_way[0]
        try:
            answer = future.result()
        except (IngestUnavailableError, IngestRejectedError, GivenUpError):
            self.failed = True
            raise
        self._under_way.popleft()
        rejected = [_rejected_row(batch, item) for item in answer.rejected]
        self._rejected.update(row.reason for row in rejected)
        before = self.checkpoint
        settled = Checkpoint(
            end=batch.end,
            lines=batch.end_line,
            rows=before.rows + len(batch.lines),
            accepted=before.accepted + answer.accepted,
            rejected=dict(self._rejected),
            seconds=self._before.seconds + time.monotonic() - self._started,
        )
        self._listener.settled(settled, rejected)
        self.checkpoint = settled  # only now: what the listener could not keep is sent again

    def _wait_until_due(self, rate_limiter: RateLimiter, mapped: Mapped) -> None:
        if rate_limiter.delay(mapped.event) > _TOGETHER_SECONDS:
            self._send()
        while (delay := rate_limiter.delay(mapped.event)) > 0 and not self._stop():
            if delay <= _TOGETHER_SECONDS and self._batch.lines:
                return
            self._settle_ready()
            rate_limiter.sleep(min(delay, _SLICE_SECONDS))


def _rejected_row(batch: _Batch, item: Rejected) -> RejectedRow:
    number = batch.numbers[item.at]
    for known in batch.known.get(item.at, ()):
        # We know better than ingest what is wrong with a cell that we could not read.
        if known.field in ("", item.field):
            return RejectedRow(number, known.field, known.reason.value, known.detail)
    return RejectedRow(number, item.field, item.reason, item.detail)
