"""Requests for ingest: interactions of the Gansu matrix as a client sends them, each with its own id."""

from __future__ import annotations

import json
import random
import time
from typing import Any

from bench.stream import ACCOUNTS, ACTIONS, COUNTRIES

POSTS = 400


def posts() -> list[dict[str, Any]]:
    """The posts that the interactions are with; sent first, so that ingest knows them."""
    draw = random.Random(7)
    return [
        {
            "kind": "post", "event_id": f"post-{number}", "occurred_at": _now(),
            "platform": ACCOUNTS[number % len(ACCOUNTS)][0], "account": ACCOUNTS[number % len(ACCOUNTS)][1],
            "post_id": f"18000000000000{number:05d}", "format": draw.choice(["video", "graphic", "live"]),
            "hashtags": ["#FuxiCeremony", "#伏羲大典"], "campaign": "fuxi-ceremony-2026",
            "broadcast_id": "fuxi-2026",
        }
        for number in range(POSTS)
    ]  # fmt: skip


def interactions(count: int, seed: int) -> list[bytes]:
    """Events as compact JSON of about 235 bytes, as most clients send them."""
    draw = random.Random(seed)
    now = _now()
    return [_interaction(draw, now, seed, number) for number in range(count)]


def _interaction(draw: random.Random, now: int, seed: int, number: int) -> bytes:
    post = draw.randrange(POSTS)
    platform, account = ACCOUNTS[post % len(ACCOUNTS)]
    event = {
        "kind": "interaction", "event_id": f"{platform}-{seed:06d}-{number:010d}",
        "occurred_at": now - draw.randrange(60_000), "platform": platform, "account": account,
        "action": draw.choice(ACTIONS), "post_id": f"18000000000000{post:05d}",
        "actor": {"id": f"{platform[:2]}{_actor(draw):05d}", "country": draw.choice(COUNTRIES)},
    }  # fmt: skip
    return json.dumps(event, separators=(",", ":")).encode()


def _actor(draw: random.Random) -> int:
    """One of 14,000 a platform, of whom few do much."""
    return int(14_000 * draw.random() ** 2)


def _now() -> int:
    return time.time_ns() // 1_000_000
