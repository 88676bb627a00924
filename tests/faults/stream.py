"""A log drawn from a seed: a matrix in a busy week, with everything that a log may hold and should not.

One entry in twenty repeats an id, one event in eight is out of order by up to ten minutes, one in two hundred
is later than a day, one entry in a hundred is not an event, and so is one record in a hundred as a whole.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

START_MS = 1_782_120_600_000  # 2026-06-22T09:30:00Z
MINUTE_MS, DAY_MS = 60_000, 86_400_000
ACCOUNTS = (
    ("twitter", "GansuTravel"),
    ("twitter", "GansuHeritage"),
    ("facebook", "VisitGansu"),
    ("instagram", "gansu.heritage"),
)
TAGS = ("fuxiceremony", "伏羲大典", "linxiaapricot", "gansuheritage")
BROADCASTS = ("fuxi-2026", "apricot-2026")
ACTIONS = (
    "like", "like", "like", "comment", "repost", "quote", "share", "read", "mention",
    "unlike", "unrepost", "delete_comment",
)  # fmt: skip
GARBAGE = (None, b"", b"not json", b'[{"kind":"interaction","v":1', b"\xff\xfe", b'{"kind":"clock"}x')
Entry = dict[str, Any]
Written = tuple[int, bytes | None]  # partition, value


class Stream:
    """The log of a seed, record by record; how much of it is written is for the caller to say."""

    def __init__(self, seed: int, partitions: int) -> None:
        self._draw = random.Random(f"log {seed}")
        self._partitions = partitions
        self._seen: list[list[Entry]] = [[] for _ in range(partitions)]
        self._stream_time = START_MS
        self._number = 0
        self._posts = [self._post(number) for number in range(12)]

    def __iter__(self) -> Iterator[Written]:
        """Records without end, clocks among them."""
        draw = self._draw
        while True:
            self._stream_time += draw.randrange(200, 3_000)
            partition = draw.randrange(self._partitions)
            entries = [self._entry(partition) for _ in range(draw.randrange(1, 25))]
            if draw.random() < 0.01:
                yield partition, draw.choice(GARBAGE)
            elif draw.random() < 0.05:
                yield partition, json.dumps(entries[0]).encode()
            else:
                yield partition, json.dumps(entries, ensure_ascii=draw.random() < 0.5).encode()
            if draw.random() < 0.25:
                yield from self._clock()

    def last_clocks(self) -> list[Written]:
        """The records that end the log: one more clock in each partition."""
        self._stream_time += 1_000
        return [self._tick(partition) for partition in range(self._partitions)]

    def _clock(self) -> Iterator[Written]:
        draw = self._draw
        if draw.random() < 0.01:
            self._stream_time += (
                draw.choice((3, 40, 700, 1_500, 3_000)) * MINUTE_MS
            )  # nothing happened meanwhile
        if draw.random() < 0.1:  # to one partition only: the stream time of each is its own
            yield self._tick(draw.randrange(self._partitions))
        else:
            yield from (self._tick(partition) for partition in range(self._partitions))

    def _tick(self, partition: int) -> Written:
        entry = {"kind": "clock", "v": 1, "stream_time": self._stream_time, "source": "event"}
        return partition, json.dumps([entry] if self._draw.random() < 0.8 else entry).encode()

    def _entry(self, partition: int) -> Any:
        draw, seen = self._draw, self._seen[partition]
        chance = draw.random()
        if seen and chance < 0.05:
            # Most repetitions follow soon; some come when the id has left the dedup window, and count.
            return draw.choice(seen[-300:] if draw.random() < 0.9 else seen)
        event = self._event(partition)
        if chance > 0.99:
            return self._corrupted(event)
        seen.append(event)
        return event

    def _event(self, partition: int) -> Entry:
        draw = self._draw
        self._number += 1
        platform, account = draw.choice(ACCOUNTS)
        event: Entry = {
            "v": 1,
            "event_id": f"e{self._number}",
            "occurred_at": self._time(),
            "platform": platform,
            "account": account,
        }
        chance = draw.random()
        if chance < 0.03:
            post = {name: value for name, value in self._post(self._number).items() if name != "post_format"}
            return event | post | {"kind": "post", "format": draw.choice(("graphic", "video", "link"))}
        if chance < 0.07:
            about = draw.choice(({}, {"post_id": f"p{partition}"}, {"broadcast_id": f"b{partition}"}))
            # Rises and falls, some so large that they are resets, or the return from one.
            value = draw.choice((draw.randrange(10_000), draw.randrange(5_000, 5_300), draw.randrange(60)))
            metric = draw.choice(("followers", "reads", "likes", "viewers"))
            return event | about | {"kind": "reading", "metric": metric, "value": value}
        if chance < 0.08:
            title = {"title": f"伏羲大典 {self._number}"} if draw.random() < 0.5 else {}
            phase = draw.choice(("scheduled", "preheat", "started", "ended"))
            return (
                event | title | {"kind": "broadcast", "broadcast_id": draw.choice(BROADCASTS), "phase": phase}
            )
        return event | self._interaction()

    def _interaction(self) -> Entry:
        draw = self._draw
        event: Entry = {"kind": "interaction", "action": draw.choice(ACTIONS)}
        chance = draw.random()
        if chance < 0.7:
            event |= draw.choice(self._posts)
        elif chance < 0.8:
            event |= {"action": draw.choice(("follow", "follow", "unfollow"))}
        else:
            event |= {
                "hashtags": draw.sample(TAGS, draw.randrange(1, 3)),
                "broadcast_id": draw.choice(BROADCASTS),
            }
        if draw.random() < 0.05:
            event["quantity"] = draw.randrange(2, 50)
        if draw.random() < 0.5:
            event["actor"] = {
                "id": f"a{draw.randrange(500)}",
                "country": draw.choice(("CN", "US", "KG", None)),
            }
            if draw.random() < 0.1:
                event["actor"]["verified"] = True
        return event

    def _post(self, number: int) -> Entry:
        draw = self._draw
        platform, account = draw.choice(ACCOUNTS)
        post: Entry = {"post_id": f"post-{number}", "platform": platform, "account": account}
        if draw.random() < 0.8:
            post["hashtags"] = draw.sample(TAGS, draw.randrange(3))
        if draw.random() < 0.5:
            post["campaign"] = draw.choice(("fuxi-ceremony-2026", "apricot-season"))
        if draw.random() < 0.7:
            post["post_format"] = draw.choice(("graphic", "link", "video", "live"))
        if draw.random() < 0.3:
            post["broadcast_id"] = draw.choice(BROADCASTS)
        return post

    def _time(self) -> int:
        draw = self._draw
        chance = draw.random()
        if chance < 0.005:
            return self._stream_time - DAY_MS - draw.randrange(6 * 60 * MINUTE_MS)
        if chance < 0.13:
            return self._stream_time - draw.randrange(10 * MINUTE_MS)
        return self._stream_time - draw.randrange(-3_000, 1_000)  # a clock may be behind the events

    def _corrupted(self, event: Entry) -> Any:
        """What is not an event: of another version, with a value out of the contract, or nothing like it."""
        corrupted = dict(event)
        kind = self._draw.randrange(7)
        if kind == 0:
            return self._draw.choice((17, "text", None, [], {}))
        if kind == 1:
            del corrupted[self._draw.choice(("event_id", "occurred_at", "platform", "account"))]
            return corrupted
        return (
            corrupted
            | (
                {"v": 2},
                {"kind": "applause"},
                {"occurred_at": "2026-06-22T09:30:00Z"},
                {"platform": 7},
                {"event_id": None},
            )[kind - 2]
        )
