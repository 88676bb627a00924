"""The Linxia apricot goes viral: a self-exciting process, in which interactions cause interactions."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from fanpulse.simulate.content import Draft, Post
from fanpulse.simulate.engagement import SPREADING, Crowd
from fanpulse.simulate.organisation import END_MS

#: How many followers see each post by themselves, and how soon.
FIRST_EYES = 90
_FIRST_MS = 120_000
#: How many interactions one interaction causes at first. Above 1 the process grows by itself; then it slows
#: down and ends, since ever fewer people have not seen the posts yet.
REPRODUCTION = 1.7
SATURATION = 42_000
_DELAY_MS = 72_000
_SPREADS_MORE = 2.5  # weight of a repost or share; a like only influences the algorithm


def outbreak(crowd: Crowd, posts: Sequence[Post]) -> list[Draft]:
    """The interactions with ``posts`` in order of time. It saturates, so all seeds have about as many."""
    draw = crowd.draw
    waiting = [
        (post.at_ms + 1_000 + draw.tail_ms(_FIRST_MS), number, post)
        for post in posts
        for number in range(FIRST_EYES)
    ]
    # The number makes the order of the heap total, so that posts are never compared.
    waiting = [(at_ms, number, post) for number, (at_ms, _, post) in enumerate(waiting)]
    heapq.heapify(waiting)
    number, drafts = len(waiting), []
    while waiting:
        at_ms, _, post = heapq.heappop(waiting)
        if at_ms >= END_MS:
            break
        payload = crowd.reaction(post)
        drafts.append((at_ms, payload))
        unseen = 1.0 - len(drafts) / SATURATION
        share = _SPREADS_MORE if payload["action"] in SPREADING else 0.8
        for _ in range(draw.count(max(0.0, REPRODUCTION * unseen * share))):
            # Now and then it spreads to the other platform.
            onto = posts[draw.below(len(posts))] if draw.chance(0.04) else post
            child_ms = max(at_ms, onto.at_ms) + 500 + draw.tail_ms(_DELAY_MS)
            heapq.heappush(waiting, (child_ms, number, onto))
            number += 1
    return drafts
