"""Requests of one event each that come together are judged, completed and packed together.

Most of what such a request costs inside ingest is the way to the publisher and not the event on it. Requests
of the same turn of the event loop go that way once, as if one client had sent them as an array.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from services.ingest.http.body import Reservation
from services.ingest.http.pipeline import BatchResult, Pipeline
from services.ingest.kafka.publisher import PublishError

#: A larger event is as well off by itself.
MAX_BYTES = 16 * 1024


@dataclass(slots=True)
class Group:
    """Requests that go together.

    ``taken`` is True once all events of the group are in the log. It is False if one of them is not good, or
    there is no room for all: then nothing was submitted, and each request goes its own way. It fails with a
    PublishError as a submission does. All requests of the group wait for it: none may cancel it.
    """

    taken: asyncio.Future[bool]
    #: Given up once they are submitted, so that a stall holds little memory.
    bodies: list[bytes] = field(default_factory=list)
    reserved: list[Reservation] = field(default_factory=list)


class MicroBatcher:
    """Makes groups. Belongs to the event loop in which it is used."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._group: Group | None = None

    def join(self, body: bytes, reserved: Reservation) -> tuple[Group, int]:
        """Have the body of one event submitted in the next turn of the loop, with others of this turn.

        Returns the group and the place of the body in it. `reserved` is released once the publisher holds it.
        """
        group = self._group
        if group is None:
            loop = asyncio.get_running_loop()
            group = self._group = Group(loop.create_future())
            loop.call_soon(self._submit, group)
        group.bodies.append(body)
        group.reserved.append(reserved)
        return group, len(group.bodies) - 1

    def _submit(self, group: Group) -> None:
        self._group = None
        try:
            together = self._pipeline.submit_batch(group.bodies)
        except PublishError:
            together = None  # each finds out by itself: there may be room for some
        except Exception as error:
            _settle(group, error)
            raise
        if together is None:
            _settle(group, False)
            return
        for reserved in group.reserved:
            reserved.release()
        group.bodies.clear()
        group.reserved.clear()
        together.acknowledged.add_done_callback(lambda _: self._acknowledged(group, together))

    def _acknowledged(self, group: Group, together: BatchResult) -> None:
        error = together.acknowledged.exception()  # nobody else has it, so it is never cancelled
        if error is None:
            self._pipeline.count(together.accepted)
        _settle(group, error or True)


def _settle(group: Group, result: bool | BaseException) -> None:
    if group.taken.done():
        return  # cancelled as the server was stopped
    if isinstance(result, bool):
        group.taken.set_result(result)
    else:
        group.taken.set_exception(result)
