"""Reading dead letters from Kafka, and sending their events to ingest again with a corrected mapping."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from fanpulse.deadletters.snapshot import Choice, without_fields
from fanpulse.load.client import IngestClient
from fanpulse.load.parsing.objects import ObjectMapper
from fanpulse.load.parsing.rules import Rules
from schemas.codec import decode_one
from schemas.dead_letter import DeadLetter, RedriveMarker, encode_marker, read_dead_letter, read_marker
from schemas.reasons import Reason, Rejection
from schemas.topics import REJECTED, qualified
from services.runtime.kafka import broker_unavailable, make_producer
from services.runtime.settings import Settings
from services.runtime.topic_scan import Span, TopicReader

_BATCH = 500
_BATCH_BYTES = 2**20
#: An id that was made from the content starts like this.
_GIVEN_ID = b'"event_id":"row-'
_MOST_MATCHES = 5
SOURCE = "redrive"


class Snapshot:
    """The dead letters of a namespace as of the moment it was opened. Made by ``take_snapshot``."""

    def __init__(
        self, reader: TopicReader, topic: str, spans: list[Span], markers: dict[str, RedriveMarker]
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._spans = spans
        #: By id: the dead letters whose events have been sent again.
        self.markers = markers

    async def dead_letters(self, choice: Choice, *, redriven: bool = False) -> AsyncIterator[DeadLetter]:
        """The dead letters of a choice, in the order of the log; with ``redriven`` also those sent again.

        Raises BrokerUnavailableError.
        """
        async for batch in self._reader.stream(self._topic, self._spans):
            for record in batch:
                dead_letter = read_dead_letter(record.value)
                if (
                    dead_letter
                    and choice.takes(dead_letter)
                    and (redriven or dead_letter.id not in self.markers)
                ):
                    yield dead_letter


async def take_snapshot(reader: TopicReader, settings: Settings) -> Snapshot:
    """Read the topic once for its redrive markers. Raises TopicMissingError, BrokerUnavailableError."""
    topic = qualified(settings.namespace, REJECTED.name)
    spans = await reader.spans(topic)
    markers: dict[str, RedriveMarker] = {}
    async for batch in reader.stream(topic, spans):
        for record in batch:
            marker = read_marker(record.value)
            if marker:
                markers[marker.redriven] = marker
    return Snapshot(reader, topic, spans, markers)


class DeadLetterNotFoundError(ValueError):
    """The beginning of an id matches no dead letter, or several. The message is one line."""


async def find_dead_letters(snapshot: Snapshot, beginnings: Sequence[str]) -> list[DeadLetter]:
    """One dead letter for each beginning of an id, also those sent again.

    Raises DeadLetterNotFoundError and BrokerUnavailableError.
    """
    found: dict[str, dict[str, DeadLetter]] = {beginning: {} for beginning in beginnings}
    async for dead_letter in snapshot.dead_letters(Choice(tuple(beginnings)), redriven=True):
        for beginning, matches in found.items():
            if dead_letter.id == beginning:
                matches.clear()
            if (
                dead_letter.id.startswith(beginning)
                and len(matches) <= _MOST_MATCHES
                and beginning not in matches
            ):
                matches[dead_letter.id] = dead_letter
    for beginning, matches in found.items():
        if not matches:
            raise DeadLetterNotFoundError(f"no dead letter has an id that begins with {beginning}")
        if len(matches) > 1:
            ids = ", ".join(list(matches)[:_MOST_MATCHES])
            raise DeadLetterNotFoundError(
                f"several dead letters have an id that begins with {beginning}: {ids}; give more characters"
            )
    return list(
        {
            dead_letter.id: dead_letter for matches in found.values() for dead_letter in matches.values()
        }.values()
    )


class Transformed(NamedTuple):
    """A dead letter and the line to send for it; ``rejection`` says why ingest would reject it again."""

    dead_letter: DeadLetter
    line: bytes
    rejection: Rejection | None
    named: bool  # whether the event had an id of its own


@dataclass
class RedriveReport:
    """The result. ``still_rejected`` were not sent, since they would only become new dead letters."""

    accepted: int = 0
    #: How many of these had no event_id and got one from their content.
    unnamed: int = 0
    rejected_again: Counter[str] = field(default_factory=Counter)
    still_rejected: list[tuple[DeadLetter, Rejection]] = field(default_factory=list)
    still_rejected_count: Counter[str] = field(default_factory=Counter)

    @property
    def rejected(self) -> int:
        """How many were not accepted."""
        return self.rejected_again.total() + self.still_rejected_count.total()


class Transform:
    """Applies a corrected mapping to dead letters, and validates the outcome as ingest would."""

    #: At most so many dead letters that would be rejected again are kept to be shown.
    SHOWN = 20

    def __init__(self, rules: Rules, drops: Sequence[str] = ()) -> None:
        self._mapper = ObjectMapper(rules)
        self._drops = tuple(drops)

    def apply(self, dead_letter: DeadLetter) -> Transformed:
        """The line to send for a dead letter."""
        if dead_letter.truncated:
            kept = f"only {len(dead_letter.raw):,} of its {dead_letter.size:,} bytes were kept"
            return Transformed(
                dead_letter, b"", Rejection("", Reason.TOO_LARGE, f"cannot be sent again: {kept}"), False
            )
        # A line break is white space between the parts of JSON, and ends an event of NDJSON.
        data = dead_letter.raw.replace(b"\r", b" ").replace(b"\n", b" ").strip()
        if self._drops:
            data = without_fields(data, self._drops)
        mapped = self._mapper.map(data)
        validated = decode_one(mapped.line)
        if isinstance(validated, Rejection):
            known = next((each for each in mapped.rejections if each.field == validated.field), validated)
            return Transformed(dead_letter, mapped.line, known, False)
        return Transformed(
            dead_letter, mapped.line, None, b'"event_id"' in data or _GIVEN_ID not in mapped.line
        )


class Redrive:
    """Sends the events of dead letters again, and writes a redrive marker for each.

    Doing it twice is safe: events keep their ids, and one without an id gets one from its content.
    """

    def __init__(self, settings: Settings, client: IngestClient, transform: Transform) -> None:
        self._settings = settings
        self._client = client
        self._transform = transform
        self._topic = qualified(settings.namespace, REJECTED.name)
        self.report = RedriveReport()

    def validate(self, dead_letter: DeadLetter) -> Transformed | None:
        """Transform a dead letter; None, and a note in the report, if ingest would reject its event again."""
        transformed = self._transform.apply(dead_letter)
        if transformed.rejection:
            self.report.still_rejected_count[transformed.rejection.reason.value] += 1
            if len(self.report.still_rejected) < self._transform.SHOWN:
                self.report.still_rejected.append((dead_letter, transformed.rejection))
            return None
        self.report.unnamed += not transformed.named
        return transformed

    async def try_out(self, dead_letters: AsyncIterator[DeadLetter]) -> None:
        """Validate dead letters without sending: ``accepted`` counts those that ingest would accept."""
        async for dead_letter in dead_letters:
            self.report.accepted += self.validate(dead_letter) is not None

    async def run(
        self, dead_letters: AsyncIterator[DeadLetter], progress: Callable[[RedriveReport], None]
    ) -> None:
        """Send the events of those dead letters that ingest would now accept.

        Raises IngestUnavailableError, IngestRejectedError and BrokerUnavailableError; what was accepted
        before the error has its markers.
        """
        waiting: list[Transformed] = []
        size = 0
        try:
            async with make_producer(self._settings) as producer:
                async for dead_letter in dead_letters:
                    transformed = self.validate(dead_letter)
                    if not transformed:
                        continue
                    waiting.append(transformed)
                    size += len(transformed.line)
                    if len(waiting) >= _BATCH or size >= _BATCH_BYTES:
                        await self._send(producer, waiting)
                        waiting, size = [], 0
                        progress(self.report)
                if waiting:
                    await self._send(producer, waiting)
        except KafkaError as error:
            raise broker_unavailable(self._settings.kafka.bootstrap, error) from error
        progress(self.report)

    async def _send(self, producer: AIOKafkaProducer, transformed: list[Transformed]) -> None:
        answer = await asyncio.to_thread(self._client.post, [each.line for each in transformed], SOURCE)
        rejected = {item.at: item.reason for item in answer.rejected}
        self.report.accepted += answer.accepted
        self.report.rejected_again.update(rejected.values())
        now = time.time_ns() // 1_000_000
        markers = (
            RedriveMarker(each.dead_letter.id, now, at not in rejected) for at, each in enumerate(transformed)
        )
        await self._write(producer, markers)

    async def _write(self, producer: AIOKafkaProducer, markers: Iterable[RedriveMarker]) -> None:
        sent = [await producer.send(self._topic, encode_marker(marker)) for marker in markers]
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
