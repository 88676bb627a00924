"""The posts of the accounts: the live streams, the Linxia apricot, and those of an ordinary day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fanpulse.simulate.audience import spell
from fanpulse.simulate.draw import Draw
from fanpulse.simulate.organisation import (
    ACCOUNTS,
    APRICOT,
    BROADCAST_ID,
    BY_HANDLE,
    FUXI,
    HERITAGE,
    MINUTE_MS,
    START_MS,
    Account,
)

#: An event without its id and time, and with the time at which it happens.
Payload = dict[str, Any]
Draft = tuple[int, Payload]


@dataclass(frozen=True, slots=True)
class Post:
    """A post. ``pull`` is the number of interactions that it gets by itself in the scenario's two hours."""

    id: str
    account: Account
    at_ms: int
    format: str
    language: str
    concepts: tuple[str, ...]
    campaign: str | None = None
    broadcast_id: str | None = None
    pull: int = 0

    def reference(self) -> Payload:
        """The fields by which an event refers to the post."""
        return {"platform": self.account.platform, "account": self.account.handle, "post_id": self.id}


def live_streams() -> list[Post]:
    """The ceremony's streams on Twitter and Facebook. Their pages open with the preheat."""
    return [
        Post("fuxi-live-tw", BY_HANDLE["twitter", "GansuTravel"], START_MS + 2_000, "live", "en",
             ("FuxiCeremony",), FUXI, BROADCAST_ID),
        Post("fuxi-live-fb", BY_HANDLE["facebook", "VisitGansu"], START_MS + 3_000, "live", "en",
             ("FuxiCeremony", "GansuHeritage"), FUXI, BROADCAST_ID),
    ]  # fmt: skip


def apricot_posts() -> list[Post]:
    """Two pictures of the apricot blossom of Linxia, which go viral unexpectedly."""
    return [
        Post("apricot-ig", BY_HANDLE["instagram", "visitgansu"], START_MS + 22 * MINUTE_MS, "graphic", "en",
             ("LinxiaApricot", "ColorfulGansu"), APRICOT),
        Post("apricot-fb", BY_HANDLE["facebook", "GansuCulture"], START_MS + 24 * MINUTE_MS, "graphic",
             "zh-Hans", ("LinxiaApricot",), APRICOT),
    ]  # fmt: skip


_THEMES: tuple[tuple[str, str | None], ...] = (
    ("GansuHeritage", HERITAGE),
    ("ColorfulGansu", None),
    ("FuxiCeremony", FUXI),
    ("GansuHeritage", HERITAGE),
    ("ColorfulGansu", None),
    ("LinxiaApricot", APRICOT),
)
_FORMATS = ("graphic", "link", "video", "graphic", "video")


def daily_posts(seed: int) -> list[Post]:
    """About eight posts per account, spread over the two hours; one in four is in Chinese."""
    draw = Draw(seed, 2)
    posts: list[Post] = []
    for index, account in enumerate(ACCOUNTS):
        minute = 2.0 + 2.0 * index
        while minute < 110:
            number = len(posts) + 1
            concept, campaign = _THEMES[(index + number) % len(_THEMES)]
            posts.append(
                Post(
                    id=f"{account.platform[:2]}-{number:03d}",
                    account=account,
                    at_ms=START_MS + int(minute * MINUTE_MS),
                    format=draw.pick(_FORMATS),
                    language="zh-Hans" if draw.chance(0.25) else "en",
                    concepts=(concept,) if draw.chance(0.7) else (concept, "ColorfulGansu"),
                    campaign=campaign,
                    pull=int(account.pull * draw.between(180, 840)),
                )
            )
            minute += 10 + 8 * draw.random()
    return posts


def publish(draw: Draw, post: Post) -> Draft:
    """The event of a post. Most of its hashtags are in the post's language, some in the other one."""
    payload: Payload = {
        "kind": "post",
        **post.reference(),
        "format": post.format,
        "language": post.language,
        "hashtags": [spell(draw, each, 0.9 if post.language == "zh-Hans" else 0.1) for each in post.concepts],
    }
    if post.campaign:
        payload["campaign"] = post.campaign
    if post.broadcast_id:
        payload["broadcast_id"] = post.broadcast_id
    return post.at_ms, payload
