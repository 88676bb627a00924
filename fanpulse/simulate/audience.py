"""The actors: a population in which a few do much and most do little, and how they spell hashtags."""

from __future__ import annotations

from typing import Any

from fanpulse.simulate.draw import Draw, Weighted
from fanpulse.simulate.organisation import (
    ALIASES,
    AUDIENCE_HASHTAGS,
    CHINESE_READERS,
    COUNTRIES,
    VIPS,
    Vip,
)

POPULATION = 42_000
#: Flattens the head of Zipf's law: nobody clicks a thousand times in two hours.
_HEAD = 40
_NO_COUNTRY = 0.06  # share of the actors whose country is unknown
_VERIFIED = 0.0015

Actor = dict[str, Any]


class Audience:
    """The actors of one seed. An actor's id and country never change."""

    def __init__(self, seed: int) -> None:
        draw = Draw(seed, 1)
        country = Weighted(COUNTRIES)
        self._actors = Weighted(
            (_actor(draw, number, country), 1.0 / (number + _HEAD)) for number in range(POPULATION)
        )
        self._own_hashtags = Weighted(AUDIENCE_HASHTAGS)

    def actor(self, draw: Draw) -> Actor:
        """An actor; busy ones are more likely."""
        return self._actors.pick(draw)

    def own_hashtags(self, draw: Draw, concept: str, actor: Actor) -> list[str]:
        """The hashtags that an actor writes: the post's, in some spelling, and perhaps another one."""
        tags = [spell(draw, concept, 0.8 if actor.get("country") in CHINESE_READERS else 0.22)]
        if draw.chance(0.35):
            tags.append(self._own_hashtags.pick(draw))
        return tags


def vip_actor(vip: Vip) -> Actor:
    """The actor of a VIP as its platform sends it. The platform marks only actors that it has verified."""
    actor: Actor = {"id": vip.id, "country": vip.country, "name": vip.name}
    return actor if vip.listed else {**actor, "verified": True}


def vip_setting() -> list[str]:
    """The value of the setting ``ingest.vip_actors`` for this audience."""
    return [f"{vip.platform}:{vip.id}" for vip in VIPS if vip.listed]


def spell(draw: Draw, concept: str, chinese: float = 0.3) -> str:
    """A concept's hashtag as people write it: in either language, with #, ＃ or no sign, in any case."""
    members = ALIASES[concept]
    name = draw.pick(members) if draw.chance(chinese) else concept
    sign = draw.random()
    how = draw.random()
    if how < 0.2:
        name = name.lower()
    elif how < 0.25:
        name = name.upper()
    return ("#" if sign < 0.86 else "＃" if sign < 0.97 else "") + name


def _actor(draw: Draw, number: int, country: Weighted[str]) -> Actor:
    actor: Actor = {"id": f"u{number:05d}"}
    if not draw.chance(_NO_COUNTRY):
        actor["country"] = country.pick(draw)
    if draw.chance(_VERIFIED):
        actor["verified"] = True
    return actor
