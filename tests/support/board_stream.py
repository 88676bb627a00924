"""A board fed with what the aggregator would publish of the scenario: its own partition states, no broker."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fanpulse.board.model import Board
from fanpulse.simulate.noise import ACCEPTED, DUPLICATE, Item
from fanpulse.simulate.organisation import ALIASES, START_MS
from schemas.events import SUBMISSION
from schemas.hashtags import AliasTable
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.entries import take_changes
from services.aggregate.counting.partition_state import PartitionState

Event = dict[str, Any]
ALIAS_TABLE = AliasTable(ALIASES)
WRITTEN_MS = 1_700_000_000_000  # time of the records of the totals
_FLUSH_MS = 15_000


def thinned(items: Iterable[Item], keep: int) -> list[Item]:
    """One interaction in ``keep``, and everything else: the same day with a smaller audience."""
    return [
        item
        for number, item in enumerate(items)
        if number % keep == 0 or b'"kind":"interaction"' not in item.line
    ]


def accepted(items: Iterable[Item]) -> Iterator[tuple[int, Event]]:
    """Accepted events, duplicates too, as ingest would complete them, with the time they are sent at."""
    posts: dict[str, Event] = {}
    for item in items:
        if item.expected in (ACCEPTED, DUPLICATE):
            event = json.loads(SUBMISSION.validate_json(item.line).model_dump_json(exclude_none=True))
            post = posts.get(event.get("post_id", ""), {})
            tags = event.get("hashtags") or post.get("hashtags") or ()
            event["hashtags"] = list(ALIAS_TABLE.resolve_all(tags))
            if event["kind"] == "post":
                posts[event["post_id"]] = event
            if event["kind"] == "reading":
                del event["hashtags"]
            yield item.send_at_ms, event


class Publisher:
    """Partition states that take events in and hand what they would write to the totals to a board."""

    def __init__(self, board: Board, partitions: int = 3, tap: Callable[[Event], None] | None = None) -> None:
        self._board = board
        self._states = [PartitionState(number, DedupWindow(250_000, 2)) for number in range(partitions)]
        self._waiting: list[list[Event]] = [[] for _ in range(partitions)]
        self._offset = 0
        self._tap = tap

    def play(self, items: Iterable[Item]) -> None:
        """Take in the accepted events of items, a clock and a flush every 15 seconds of event time."""
        flushed_ms = now_ms = START_MS
        for now_ms, event in accepted(items):
            name = event["broadcast_id"] if event["kind"] == "broadcast" else event["event_id"]
            self._waiting[zlib.crc32(name.encode()) % len(self._states)].append(event)
            if self._tap is not None:
                self._tap(event)
            if now_ms - flushed_ms >= _FLUSH_MS:
                self.flush(now_ms)
                flushed_ms = now_ms
        self.flush(now_ms)

    def flush(self, stream_time_ms: int) -> None:
        """A clock to every partition, and everything that changed to the board."""
        clock = {"kind": "clock", "v": 1, "stream_time": stream_time_ms, "source": "event"}
        for number, state in enumerate(self._states):
            state.apply(self._offset, json.dumps([*self._waiting[number], clock]).encode())
            self._waiting[number] = []
            for key, value in take_changes(state):
                self._board.apply_total(number, key, value, WRITTEN_MS)
        self._offset += 1
