"""What people do with posts: long tails, reactions to VIPs, mentions, reads and withdrawals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fanpulse.simulate.audience import Actor, Audience, spell, vip_actor
from fanpulse.simulate.content import Draft, Payload, Post
from fanpulse.simulate.draw import Draw, Weighted
from fanpulse.simulate.organisation import ACCOUNTS, ALIASES, END_MS, MINUTE_MS, START_MS, VIPS

#: The actions on each platform, with their weights.
ACTIONS: dict[str, Weighted[str]] = {
    "twitter": Weighted([("like", 64), ("repost", 17), ("comment", 13), ("quote", 5)]),
    "facebook": Weighted([("like", 61), ("comment", 22), ("share", 16)]),
    "instagram": Weighted([("like", 79), ("comment", 15), ("share", 6)]),
}
#: Actions that show a post to new people.
SPREADING = frozenset({"repost", "quote", "share"})
#: Action -> its withdrawal, and the share of actions that are withdrawn.
_REGRETS = {"like": ("unlike", 0.025), "repost": ("unrepost", 0.02), "comment": ("delete_comment", 0.03)}
_WRITES_HASHTAGS = 0.22  # share of the interactions that have hashtags of their own
_TAIL_MS = 6 * MINUTE_MS  # a post gets half of its interactions within this time
_WAKE_MS = 100_000  # the same for the reactions to a VIP's repost


@dataclass(frozen=True)
class Crowd:
    """The audience, and the random stream by which it acts."""

    audience: Audience
    draw: Draw

    def interaction(self, post: Post, action: str, actor: Actor | None = None) -> Payload:
        """``actor``, or a random one, does ``action`` with a post."""
        who = actor or self.audience.actor(self.draw)
        payload: Payload = {"kind": "interaction", **post.reference(), "action": action}
        if post.broadcast_id:
            payload["broadcast_id"] = post.broadcast_id
        if self.draw.chance(_WRITES_HASHTAGS):
            payload["hashtags"] = self.audience.own_hashtags(self.draw, self.draw.pick(post.concepts), who)
        payload["actor"] = who
        return payload

    def reaction(self, post: Post) -> Payload:
        """A random actor does with a post what people do on its platform."""
        return self.interaction(post, ACTIONS[post.account.platform].pick(self.draw))


def long_tail(crowd: Crowd, posts: Iterable[Post]) -> list[Draft]:
    """The interactions that each post gets by itself, up to the scenario's end."""
    drafts = []
    for post in posts:
        for _ in range(post.pull):
            at_ms = post.at_ms + 1_000 + crowd.draw.tail_ms(_TAIL_MS)
            if at_ms < END_MS:
                drafts.append((at_ms, crowd.reaction(post)))
    return drafts


def vip_wakes(crowd: Crowd, posts: Sequence[Post]) -> list[Draft]:
    """Each VIP reposts, shares or comments on three posts of its platform, and its followers react."""
    draw, drafts = crowd.draw, []
    for vip in VIPS:
        action = {"twitter": "repost", "facebook": "share", "instagram": "comment"}[vip.platform]
        for post in _spread(draw, [each for each in posts if each.account.platform == vip.platform], 3):
            at_ms = post.at_ms + draw.between(90_000, 8 * MINUTE_MS)
            drafts.append((at_ms, crowd.interaction(post, action, vip_actor(vip))))
            for _ in range(draw.between(vip.reach // 2, vip.reach + vip.reach // 2)):
                follower_ms = at_ms + 500 + draw.tail_ms(_WAKE_MS)
                if follower_ms < END_MS:
                    drafts.append((follower_ms, crowd.reaction(post)))
    return drafts


def _spread(draw: Draw, posts: Sequence[Post], count: int) -> list[Post]:
    """One post from each of ``count`` equal parts of the day."""
    bounds = [len(posts) * part // count for part in range(count + 1)]
    return [draw.pick(posts[low:high]) for low, high in pairwise(bounds)]


def mentions(crowd: Crowd, count: int = 1_800) -> list[Draft]:
    """People mention an account with @, with hashtags of their own; these refer to none of our posts."""
    draw, drafts = crowd.draw, []
    account = Weighted((each, each.pull) for each in ACCOUNTS)
    concepts = sorted(ALIASES)
    for at_ms in draw.times(START_MS, END_MS - START_MS, count):
        named, who = account.pick(draw), crowd.audience.actor(draw)
        payload: Payload = {
            "kind": "interaction",
            "platform": named.platform,
            "account": f"@{named.handle}",
            "action": "mention",
            "hashtags": crowd.audience.own_hashtags(draw, draw.pick(concepts), who),
            "actor": who,
        }
        if draw.chance(0.05):
            payload["hashtags"].append(spell(draw, draw.pick(concepts)))
        drafts.append((at_ms, payload))
    return drafts


def reads(draw: Draw, posts: Iterable[Post]) -> list[Draft]:
    """Reads of each post per minute, as a poller finds them: one event with a quantity."""
    drafts = []
    for post in posts:
        weight = 60 * post.pull if post.pull else 30_000
        for age in range(1, (END_MS - post.at_ms) // MINUTE_MS):
            quantity = int(weight * (0.7 + 0.6 * draw.random()) / (8 + age) / (1 + age / 12))
            if quantity < 5:
                break
            payload = {"kind": "interaction", **post.reference(), "action": "read", "quantity": quantity}
            if post.broadcast_id:
                payload["broadcast_id"] = post.broadcast_id
            drafts.append((post.at_ms + age * MINUTE_MS + draw.below(20_000), payload))
    return drafts


def second_thoughts(draw: Draw, drafts: Iterable[Draft]) -> list[Draft]:
    """Withdrawals of likes, reposts and comments among ``drafts``, sooner or later after them."""
    withdrawals = []
    for at_ms, payload in drafts:
        undo, probability = _REGRETS.get(payload["action"], ("", 0.0))
        if draw.chance(probability):
            later_ms = at_ms + 2_000 + draw.tail_ms(45_000)
            if later_ms < END_MS:
                withdrawals.append((later_ms, {**payload, "action": undo}))
    return withdrawals
