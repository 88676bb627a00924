"""The whole scenario: every line to send, in order, and the expected result.

Pure: no clock, no network, no state. The same seed gives the same bytes everywhere. ``docs/scenario.md`` has
the story, and the numbers that hold for every seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from fanpulse.simulate import ceremony, content, engagement, noise, readings, viral
from fanpulse.simulate.audience import Audience, vip_setting
from fanpulse.simulate.content import Draft
from fanpulse.simulate.draw import Draw
from fanpulse.simulate.engagement import Crowd
from fanpulse.simulate.noise import ACCEPTED, DUPLICATE, Item
from fanpulse.simulate.organisation import ALIASES, END_MS, MINUTE_MS, MINUTES, START_MS

DEFAULT_SEED = 2026


@dataclass(frozen=True, slots=True)
class Expectation:
    """The result of sending all items once. ``accepted`` includes duplicates, which are not counted."""

    sent: int
    accepted: int
    duplicates: int
    rejected: dict[str, int]

    @property
    def counted(self) -> int:
        """Distinct accepted events, which make up the totals."""
        return self.accepted - self.duplicates


def expect(items: Iterable[Item]) -> Expectation:
    """The expected result of sending the items."""
    outcomes = Counter(str(item.expected) for item in items)
    sent = outcomes.total()
    duplicates, accepted = outcomes.pop(DUPLICATE, 0), outcomes.pop(ACCEPTED, 0)
    return Expectation(sent, accepted + duplicates, duplicates, dict(sorted(outcomes.items())))


@dataclass(frozen=True)
class Scenario:
    """The two hours of 22 June 2026 for a seed, or their first ``minutes``."""

    seed: int = DEFAULT_SEED
    minutes: int = MINUTES
    hashtag_aliases: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(ALIASES))
    vip_actors: tuple[str, ...] = field(default_factory=lambda: tuple(vip_setting()))

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Every line, in sending order. Takes some seconds the first time."""
        until_ms = min(START_MS + self.minutes * MINUTE_MS, END_MS)
        everything = noise.add_noise(self.seed, all_drafts(self.seed))
        items = [item for item in everything if item.send_at_ms < until_ms]
        items.sort(key=lambda item: item.send_at_ms)  # stable: an original stays before its duplicate
        return tuple(items)

    @cached_property
    def expected(self) -> Expectation:
        """The result that the demo must have."""
        return expect(self.items)


def all_drafts(seed: int) -> list[Draft]:
    """Everything that happens, in order of time, before noise is added."""
    audience = Audience(seed)
    streams, apricot, daily = content.live_streams(), content.apricot_posts(), content.daily_posts(seed)
    posts = [*streams, *apricot, *daily]
    publishing = Draw(seed, 3)
    reactions = [
        *ceremony.applause(Crowd(audience, Draw(seed, 4)), streams, MINUTES),
        *viral.outbreak(Crowd(audience, Draw(seed, 5)), apricot),
        *engagement.long_tail(Crowd(audience, Draw(seed, 6)), daily),
        *engagement.vip_wakes(Crowd(audience, Draw(seed, 7)), daily),
    ]
    follows = readings.follows(Draw(seed, 8))
    reads = engagement.reads(Draw(seed, 10), posts)
    drafts = [
        *(content.publish(publishing, post) for post in posts),
        *ceremony.phases(streams[1]),
        *reactions,
        *engagement.second_thoughts(Draw(seed, 11), reactions),
        *engagement.mentions(Crowd(audience, Draw(seed, 12))),
        *follows,
        *reads,
        *readings.followers(follows),
        *readings.viewers(Draw(seed, 13), streams[1:]),
        *readings.read_counts(reads),
    ]
    drafts.sort(key=lambda draft: draft[0])
    return drafts
