"""The scenario is cut into requests that ingest can take, and played until each has its final answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiohttp import web

from fanpulse.simulate import pacing
from fanpulse.simulate.noise import ACCEPTED, DUPLICATE, Item
from fanpulse.simulate.organisation import MINUTE_MS, START_MS
from fanpulse.simulate.pacing import MAX_EVENTS, MAX_SPAN_MS, batches
from fanpulse.simulate.player import WINDOW, Player, PlayError
from fanpulse.simulate.scenario import Scenario
from fanpulse.simulate.sent_counts import AnswerError, SentCounts
from schemas.codec import decode_one
from schemas.reasons import Reason, Rejection

ITEMS = Scenario(minutes=12).items


def item(number: int, expected: str = ACCEPTED, *, first: bool = False) -> Item:
    return Item(START_MS + number, f'{{"event_id":"{number}"}}'.encode(), expected, first)


@pytest.mark.parametrize("speed", [0, 1, 60, 600, 100_000])
def test_requests_hold_every_item_once_and_in_order(speed: float) -> None:
    """At any speed, requests are bounded in events and event time, and none is due before what it holds."""
    made = list(batches(ITEMS, speed))
    assert [each for batch in made for each in batch.items] == list(ITEMS)
    assert all(len(batch.items) <= MAX_EVENTS for batch in made)
    assert all(batch.items[-1].send_at_ms - batch.items[0].send_at_ms < MAX_SPAN_MS for batch in made)
    assert all(batch.items[-1].send_at_ms < batch.due_ms for batch in made)
    assert all(before.due_ms <= after.due_ms for before, after in pairwise(made))


def test_a_post_ends_its_request() -> None:
    """What comes after a post is in a later request, which waits for it."""
    made = list(batches([item(1), item(2, first=True), item(3)], 60))
    held = [batch for batch in made if batch.barrier]
    assert [batch.items[-1].barrier for batch in held] == [True]
    assert sum(len(batch.items) for batch in made) == 3


def test_some_events_go_alone_and_only_well_formed_ones() -> None:
    """A few requests are a single object of JSON; what is not an event is sent among others only."""
    alone = [batch for batch in batches(Scenario(minutes=40).items, 60) if batch.alone]
    assert len(alone) > 50
    for batch in alone:
        assert batch.content_type == "application/json"
        assert isinstance(json.loads(batch.body), dict)
        assert batch.items[0].expected in (ACCEPTED, DUPLICATE)


def test_answers_that_were_not_expected_are_counted() -> None:
    """An event that is rejected though it is good, or for another reason, is counted and shown."""
    sent_counts = SentCounts()
    sent = [item(0), item(1, Reason.BAD_TIME), item(2, DUPLICATE), item(3)]
    rejected = [{"index": 1, "reason": "bad_value"}, {"index": 3, "reason": "too_deep"}]
    sent_counts.record(sent, {"accepted": 2, "rejected": rejected})
    assert (sent_counts.sent, sent_counts.accepted, dict(sent_counts.rejected)) == (
        4,
        2,
        {"bad_value": 1, "too_deep": 1},
    )
    assert sent_counts.mismatched == 2
    assert [str(each).split(": ")[0] for each in sent_counts.mismatches] == [
        "expected bad_time, got bad_value",
        "expected accepted, got too_deep",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"accepted": 2},
        {"accepted": "x", "rejected": []},
        {"accepted": 1, "rejected": []},
        {"accepted": 1, "rejected": [{"index": 2, "reason": "bad_time"}]},
        {"accepted": 1, "rejected": [{"index": 0}]},
    ],
)
def test_an_answer_that_does_not_account_for_every_event_is_an_error(answer: object) -> None:
    """An event counts as accepted only if the answer says so."""
    sent_counts = SentCounts()
    with pytest.raises(AnswerError):
        sent_counts.record([item(0), item(1)], answer)
    assert sent_counts.sent == 0


class FakeIngest:
    """Answers as the contract says and remembers what it stored; ``fault`` may make a request fail."""

    def __init__(self, fault: Callable[[int], int | None] = lambda number: None) -> None:
        self.stored: list[bytes] = []
        self.requests = 0
        self.under_way = 0
        self.most_under_way = 0
        self._fault = fault

    async def events(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._answer(request, self._fault(self.requests))
        finally:
            self.under_way -= 1

    async def _answer(self, request: web.Request, fault: int | None) -> web.Response:
        if fault and fault > 0:
            return web.Response(status=fault, headers={"Retry-After": "0"})
        body = await request.read()
        lines = body.split(b"\n")[:-1] if request.content_type == "application/x-ndjson" else [body]
        rejected = []
        for index, line in enumerate(lines):
            found = decode_one(line)
            if isinstance(found, Rejection):
                rejected.append({"index": index, "reason": str(found.reason)})
            else:
                self.stored.append(line)
        if fault == -1 and request.transport:
            request.transport.close()  # stored, and the answer lost
        answer = {"accepted": len(lines) - len(rejected), "rejected": rejected}
        return web.json_response(answer, status=202 if len(rejected) < len(lines) else 422)


@asynccontextmanager
async def serving(ingest: FakeIngest) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/events", ingest.events)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def good_lines(items: tuple[Item, ...]) -> Counter[bytes]:
    return Counter(each.line for each in items if not isinstance(each.expected, Reason))


#: Without events ahead of the clock, since the fake has none.
PLAYED = tuple(each for each in ITEMS if each.expected != Reason.AHEAD_OF_CLOCK)


async def test_everything_is_sent_and_counted_as_the_scenario_expects() -> None:
    """Each line arrives once; accepted and rejected by reason are as expected; few requests at a time."""
    ingest = FakeIngest()
    async with serving(ingest) as url:
        sent_counts = await Player(url, PLAYED, speed=0).run()
    assert Counter(ingest.stored) == good_lines(PLAYED)
    assert sent_counts.sent == len(PLAYED)
    assert sent_counts.accepted == good_lines(PLAYED).total()
    assert sent_counts.rejected == Counter(str(e.expected) for e in PLAYED if isinstance(e.expected, Reason))
    assert sent_counts.mismatched == sent_counts.retries == 0
    assert ingest.most_under_way <= WINDOW


@pytest.mark.parametrize("fault", [503, 429, -1])
async def test_a_request_is_sent_again_until_it_is_answered(fault: int) -> None:
    """After a 503 or 429, or when the answer is lost: nothing is missing, and each event counts once."""
    ingest = FakeIngest(lambda number: fault if number % 3 == 0 else None)
    async with serving(ingest) as url:
        sent_counts = await Player(url, PLAYED, speed=0).run()
    assert set(ingest.stored) == set(good_lines(PLAYED))
    assert sent_counts.accepted == good_lines(PLAYED).total()
    assert sent_counts.sent == len(PLAYED)
    assert sent_counts.retries > 0
    assert sent_counts.mismatched == 0


async def test_an_ingest_that_comes_later_is_waited_for() -> None:
    """Nobody listens at first: the player tries again, and names the error meanwhile."""
    async with serving(FakeIngest()) as url:
        pass
    player = Player(url, PLAYED[:50], speed=0)
    port = int(url.rpartition(":")[2])
    app = web.Application()
    ingest = FakeIngest()
    app.router.add_post("/v1/events", ingest.events)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()

    async def come_later() -> None:
        while player.trouble is None:  # noqa: ASYNC110 - it has no event for this
            await asyncio.sleep(0.01)
        assert player.trouble == "ConnectError"
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()

    try:
        await asyncio.gather(player.run(), come_later())
    finally:
        await runner.cleanup()
    assert Counter(ingest.stored) == good_lines(PLAYED[:50])
    assert player.trouble is None


@pytest.mark.parametrize("status", [400, 401, 413, 500])
async def test_an_answer_that_a_retry_cannot_mend_ends_the_play(status: int) -> None:
    """The error names the status; of the requests under way none is followed by another."""
    ingest = FakeIngest(lambda number: status if number == 3 else None)
    async with serving(ingest) as url:
        with pytest.raises(PlayError, match=rf"^ingest answered {status}\b"):
            await Player(url, PLAYED, speed=0).run()
    assert ingest.requests <= 3 + 2 * WINDOW


def test_the_pace_is_event_time_by_real_time() -> None:
    """At speed 60, ten minutes of event time are due within ten seconds."""
    made = list(batches(ITEMS, 60))
    until = [batch for batch in made if batch.items[0].send_at_ms < START_MS + 10 * MINUTE_MS]
    seconds = (until[-1].due_ms - START_MS) / 1000 / 60
    assert 9.5 < seconds < 10.5
    assert pacing.TICK_MS == 100
