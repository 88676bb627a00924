"""What pollers read from the platforms: followers, viewers and reads, and the follows behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fanpulse.simulate.content import Draft, Payload, Post
from fanpulse.simulate.draw import Draw, interpolate
from fanpulse.simulate.organisation import ACCOUNTS, BROADCAST_ID, MINUTE_MS, MINUTES, START_MS, Account

#: New followers of all accounts per minute. The accounts' followers pass 1,000,000 in the live phase.
GROWTH: tuple[tuple[int, float], ...] = (
    (0, 12), (25, 30), (40, 90), (60, 110), (71, 150), (84, 190), (97, 260), (100, 160), (120, 60)
)  # fmt: skip
_UNFOLLOWS = 0.05
#: A platform removes reads by bots from the stream's figure: which post, when, and one in how many reads.
#: The figure stays lower from then on.
PURGED, PURGE_MS, PURGE_PART = ("facebook", "fuxi-live-fb"), START_MS + 89 * MINUTE_MS, 20
#: Concurrent viewers of the broadcast, on all platforms.
VIEWERS: tuple[tuple[int, float], ...] = (
    (0, 300), (50, 9_000), (60, 48_000), (71, 126_000), (76, 121_000), (84, 171_000), (90, 158_000),
    (97, 214_000), (100, 190_000), (103, 31_000), (110, 4_000), (120, 800),
)  # fmt: skip


def follows(draw: Draw) -> list[Draft]:
    """New followers and unfollows. A poller reports several at once."""
    drafts = []
    pull = sum(account.pull for account in ACCOUNTS)
    for minute in range(MINUTES):
        for account in ACCOUNTS:
            expected = interpolate(GROWTH, minute + 0.5) * account.pull / pull
            for action, share in (("follow", 1.0), ("unfollow", _UNFOLLOWS)):
                left = draw.count(expected * share * (0.8 + 0.4 * draw.random()))
                while left > 0:
                    quantity = min(left, draw.between(1, 9))
                    left -= quantity
                    at_ms = START_MS + minute * MINUTE_MS + draw.below(MINUTE_MS)
                    drafts.append((at_ms, _follow(account, action, quantity)))
    return drafts


def _follow(account: Account, action: str, quantity: int) -> Payload:
    payload: Payload = {
        "kind": "interaction",
        "platform": account.platform,
        "account": account.handle,
        "action": action,
    }
    return {**payload, "quantity": quantity} if quantity > 1 else payload


def followers(changes: Iterable[Draft]) -> list[Draft]:
    """Each account's followers at the end of each minute: the initial figure and all ``changes`` since."""
    steps: dict[tuple[str, str, int], int] = {}
    for at_ms, payload in changes:
        key = (payload["platform"], payload["account"], (at_ms - START_MS) // MINUTE_MS)
        sign = 1 if payload["action"] == "follow" else -1
        steps[key] = steps.get(key, 0) + sign * payload.get("quantity", 1)
    drafts = []
    for account in ACCOUNTS:
        value = account.followers
        for minute in range(MINUTES):
            value += steps.get((account.platform, account.handle, minute), 0)
            at_ms = START_MS + (minute + 1) * MINUTE_MS - 1_000
            drafts.append((at_ms, _reading(account, "followers", value)))
    return drafts


def viewers(draw: Draw, streams: Sequence[Post]) -> list[Draft]:
    """Viewers of the broadcast, every twenty seconds. The host's page adds up the platforms."""
    drafts = []
    for at_ms in range(START_MS + 20_000, START_MS + MINUTES * MINUTE_MS, 20_000):
        expected = interpolate(VIEWERS, (at_ms - START_MS) / MINUTE_MS)
        payload = _reading(streams[0].account, "viewers", int(expected * (0.985 + 0.03 * draw.random())))
        drafts.append((at_ms, {**payload, "broadcast_id": BROADCAST_ID}))
    return drafts


def read_counts(drafts: Iterable[Draft]) -> list[Draft]:
    """The total reads of each post after every fifth ``read`` event among ``drafts``, less the reads that the
    platform has removed."""
    sums: dict[tuple[str, str], int] = {}
    polls: dict[tuple[str, str], int] = {}
    purged = 0
    readings = []
    for at_ms, payload in drafts:
        key = (payload["platform"], payload["post_id"])
        sums[key] = sums.get(key, 0) + payload["quantity"]
        polls[key] = polls.get(key, 0) + 1
        if polls[key] % 5 == 0:
            if key == PURGED and at_ms >= PURGE_MS:
                purged = purged or sums[key] // PURGE_PART
            reading = {
                "kind": "reading",
                "platform": payload["platform"],
                "account": payload["account"],
                "post_id": payload["post_id"],
                "metric": "reads",
                "value": sums[key] - (purged if key == PURGED else 0),
            }
            readings.append((min(at_ms + 400, START_MS + MINUTES * MINUTE_MS - 1), reading))
    return readings


def _reading(account: Account, metric: str, value: int) -> Payload:
    return {
        "kind": "reading",
        "platform": account.platform,
        "account": account.handle,
        "metric": metric,
        "value": value,
    }
