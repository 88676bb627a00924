"""The micro-batcher: requests of one event each that arrive together are processed together.

Most of the cost of such a request inside ingest is the way to the publisher, not the event. Requests of the
same iteration of the event loop go that way once, as if one client had sent them as an array.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from services.ingest.http.auth import Client
from services.ingest.http.body import Reservation
from services.ingest.http.submitter import Submission, Submitter
from services.ingest.kafka.publisher import PublishError
from services.ingest.pipeline.pipeline import Pipeline

#: A larger event gains nothing from company.
MAX_BYTES = 16 * 1024


@dataclass(slots=True)
class BatchResult:
    """Requests that are submitted together.

    ``taken`` becomes True once all events of the batch are in the log. It becomes False if one of them is not
    good, or there is no room for all: then nothing was submitted, and each request is to be submitted by
    itself. It fails with a PublishError as a submission does. All requests of the batch wait for it: none may
    cancel it.
    """

    taken: asyncio.Future[bool]
    #: Cleared once they are submitted, so that a stall holds little memory.
    bodies: list[bytes] = field(default_factory=list)
    reserved: list[Reservation] = field(default_factory=list)


class MicroBatcher:
    """Collects requests into batches. Belongs to the event loop in which it is used."""

    def __init__(self, pipeline: Pipeline, submitter: Submitter) -> None:
        self._pipeline = pipeline
        self._submitter = submitter
        self._batches: dict[Client, BatchResult] = {}

    def join(self, body: bytes, reserved: Reservation, client: Client) -> tuple[BatchResult, int]:
        """Submit the body of one event in the next iteration of the loop, with those of the same client.

        Returns the batch and the index of the body in it. `reserved` is released once the publisher holds it.
        """
        batch = self._batches.get(client)
        if batch is None:
            loop = asyncio.get_running_loop()
            batch = self._batches[client] = BatchResult(loop.create_future())
            loop.call_soon(self._submit, batch, client)
        batch.bodies.append(body)
        batch.reserved.append(reserved)
        return batch, len(batch.bodies) - 1

    def _submit(self, batch: BatchResult, client: Client) -> None:
        del self._batches[client]
        try:
            processed = self._pipeline.process_singles(batch.bodies, client.rules)
            submission = self._submitter.submit(processed) if processed else None
        except PublishError:
            submission = None  # each tries by itself: there may be room for some
        except Exception as error:
            _settle(batch, error)
            raise
        if submission is None:
            _settle(batch, False)
            return
        for reserved in batch.reserved:
            reserved.release()
        batch.bodies.clear()
        batch.reserved.clear()
        submission.acknowledged.add_done_callback(lambda _: self._acknowledged(batch, submission))

    def _acknowledged(self, batch: BatchResult, submission: Submission) -> None:
        error = submission.acknowledged.exception()  # nobody else has it, so it is never cancelled
        if error is None:
            self._submitter.count(submission.outcome)
        _settle(batch, error or True)


def _settle(batch: BatchResult, result: bool | BaseException) -> None:
    if batch.taken.done():
        return  # cancelled as the server was stopped
    if isinstance(result, bool):
        batch.taken.set_result(result)
    else:
        batch.taken.set_exception(result)
