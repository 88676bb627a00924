"""The scenario is the same for a seed, holds what its documentation says, and is what ingest should see."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from functools import lru_cache
from statistics import median

import pytest

from fanpulse.simulate import ceremony, malformed
from fanpulse.simulate.noise import ACCEPTED, DUPLICATE, Item, written
from fanpulse.simulate.organisation import (
    ACCOUNTS,
    BROADCAST_ID,
    CHINESE_READERS,
    COUNTRIES,
    END_MS,
    MINUTE_MS,
    START_MS,
)
from fanpulse.simulate.readings import PURGE_MS, PURGED
from fanpulse.simulate.scenario import DEFAULT_SEED, Scenario, all_drafts
from schemas.codec import decode_one
from schemas.events import (
    INTERACTIONS,
    SUBMISSION,
    WITHDRAWALS,
    Broadcast,
    Interaction,
    Post,
    Reading,
    subject_of,
)
from schemas.fields import parse_time
from schemas.hashtags import AliasTable, canonical
from schemas.reasons import Reason, Rejection
from services.aggregate.counting.readings import Readings

SEEDS = (DEFAULT_SEED, 7)
Event = Interaction | Post | Reading | Broadcast


@lru_cache(maxsize=4)
def scenario(seed: int = DEFAULT_SEED) -> Scenario:
    made = Scenario(seed)
    assert made.items
    return made


@lru_cache(maxsize=4)
def counted(seed: int = DEFAULT_SEED) -> list[tuple[int, Event]]:
    """Every accepted event that is no duplicate, as the contract reads it, with the time it is sent at."""
    return [
        (item.send_at_ms, SUBMISSION.validate_json(item.line))
        for item in scenario(seed).items
        if item.expected == ACCEPTED
    ]


def digest(items: tuple[Item, ...]) -> str:
    sha = hashlib.sha256()
    for item in items:
        sha.update(f"{item.send_at_ms} {item.expected} ".encode() + item.line + b"\n")
    return sha.hexdigest()


def test_a_seed_gives_the_same_bytes_on_every_platform_and_python() -> None:
    """The bytes of a seed are pinned: whoever changes them on purpose changes this digest too."""
    assert digest(scenario().items) == "fc76ea77bfcd69fe41551bf4c7f80493250562cb25eab160a7bb97dbd3b89066"


def test_seeds_differ() -> None:
    """Another seed is another day."""
    assert digest(scenario(7).items) != digest(scenario().items)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_size_and_the_shares_of_noise_hold_for_every_seed(seed: int) -> None:
    """At least 110,000 events; about 2 % duplicates, 1 % late ones and 0.5 % malformed ones."""
    expected = scenario(seed).expected
    assert expected.sent >= 110_000
    assert expected.sent == expected.accepted + sum(expected.rejected.values())
    assert 0.017 < expected.duplicates / expected.sent < 0.022
    assert 0.003 < sum(expected.rejected.values()) / expected.sent < 0.006
    late = [sent - int(event.occurred_at) for sent, event in counted(seed) if sent != event.occurred_at]
    assert 0.007 < len(late) / expected.sent < 0.012
    assert all(MINUTE_MS <= delay <= 20 * MINUTE_MS or delay == 180 * MINUTE_MS for delay in late)
    assert late.count(180 * MINUTE_MS) >= 3


@pytest.mark.parametrize("seed", SEEDS)
def test_items_come_in_order_within_the_two_hours(seed: int) -> None:
    """Sending times never fall, and no event lies ahead of the time at which it is sent."""
    times = [item.send_at_ms for item in scenario(seed).items]
    assert times == sorted(times)
    assert times[0] >= START_MS
    assert times[-1] < END_MS
    assert all(int(event.occurred_at) <= sent for sent, event in counted(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_accepted_ids_are_unique_and_a_duplicate_repeats_an_accepted_line_soon(seed: int) -> None:
    """A duplicate has the bytes of an event sent before it, at most 90 seconds and 10,000 items ago."""
    seen: dict[bytes, tuple[int, int]] = {}
    ids = set()
    for number, item in enumerate(scenario(seed).items):
        if item.expected == ACCEPTED:
            event_id = json.loads(item.line)["event_id"]
            assert event_id not in ids
            ids.add(event_id)
            seen[item.line] = (number, item.send_at_ms)
        elif item.expected == DUPLICATE:
            before, sent_ms = seen[item.line]
            assert number - before <= 10_000
            assert item.send_at_ms - sent_ms <= 90_000


def test_malformed_items_have_ids_that_no_good_event_has() -> None:
    """A rejected event never hides a good one: its id, where it has one, is its own."""
    good = {event.event_id.encode() for _, event in counted()}
    malformed_lines = [item.line for item in scenario().items if isinstance(item.expected, Reason)]
    # Also of lines that are no JSON, so the ids are found in the bytes.
    ids = {found for line in malformed_lines for found in re.findall(rb'"event_id": ?"([^"]*)"', line)}
    assert len(ids) > 0.9 * len(malformed_lines)
    assert ids & good == set()


def test_the_codec_decides_every_line_as_the_scenario_expects() -> None:
    """Each line is accepted, or rejected for the expected reason; only ingest's clock knows what is ahead."""
    for item in scenario().items:
        found = decode_one(item.line)
        got = found.reason if isinstance(found, Rejection) else ACCEPTED
        beyond = item.expected in (DUPLICATE, Reason.AHEAD_OF_CLOCK)
        assert got == (ACCEPTED if beyond else item.expected), item.line


def test_every_mistake_is_made() -> None:
    """Each way to make an event malformed occurs, and its reasons are those of the closed list."""
    assert set(scenario().expected.rejected) == {str(reason) for reason, _ in malformed.MISTAKES}
    assert len(scenario().expected.rejected) >= 15


@pytest.mark.parametrize("seed", SEEDS)
def test_a_post_is_published_before_anyone_reacts(seed: int) -> None:
    """Ingest knows a post before an interaction with it needs its hashtags."""
    published: set[str] = set()
    reactions = 0
    for _, event in counted(seed):
        if isinstance(event, Post):
            published.add(event.post_id)
        elif isinstance(event, Interaction) and event.post_id:
            assert event.post_id in published
            reactions += 1
    assert reactions > 50_000


def test_a_post_is_marked_to_be_acknowledged_first() -> None:
    """Posts, and only posts, hold back what comes after them."""
    for item in scenario().items:
        if item.expected == ACCEPTED:
            assert item.barrier == (b'"kind":"post"' in item.line)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_net_count_falls_below_zero(seed: int) -> None:
    """For each post, withdrawals of an action never outnumber the action itself."""
    done: Counter[tuple[str, str]] = Counter()
    for _, event in counted(seed):
        if isinstance(event, Interaction) and event.post_id:
            done[event.post_id, event.action] += event.quantity
    withdrawn = [(post, name) for post, name in done if name in WITHDRAWALS]
    assert {name for _, name in withdrawn} == {"unlike", "unrepost", "delete_comment"}
    for post, name in withdrawn:
        assert done[post, name] <= done[post, WITHDRAWALS[name]]


@pytest.mark.parametrize("seed", SEEDS)
def test_followers_pass_a_million_in_the_live_phase(seed: int) -> None:
    """The sum of the accounts' followers starts below 1,000,000 and passes it while the ceremony is live."""
    latest: dict[tuple[str, str], int] = {}
    crossed_at = None
    for sent, event in counted(seed):
        if isinstance(event, Reading) and event.metric == "followers" and sent == event.occurred_at:
            latest[event.platform, event.account] = event.value
            if len(latest) == len(ACCOUNTS) and crossed_at is None and sum(latest.values()) >= 1_000_000:
                crossed_at = sent
    assert sum(account.followers for account in ACCOUNTS) < 1_000_000
    assert crossed_at is not None
    assert 60 <= (crossed_at - START_MS) / MINUTE_MS < 100


@pytest.mark.parametrize("seed", SEEDS)
def test_the_apricot_goes_viral_after_nine_without_a_push(seed: int) -> None:
    """Its posts get most of their interactions between 09:00 and 09:20, from 180 first viewers."""
    per_minute: Counter[int] = Counter()
    for at_ms, payload in all_drafts(seed):
        if payload["kind"] == "interaction" and payload.get("post_id", "").startswith("apricot"):
            per_minute[(at_ms - START_MS) // MINUTE_MS] += payload["action"] in INTERACTIONS
    total = per_minute.total()
    assert 25_000 < total < 45_000
    assert sum(per_minute[minute] for minute in range(30, 50)) > 0.7 * total
    assert max(per_minute.values()) > 8 * max(per_minute[minute] for minute in range(22, 26))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_platform_corrects_itself_once(seed: int) -> None:
    """Of all readings, in the order in which they are sent, one is a correction: reads of the stream on
    Facebook. None is a reset, and some are late."""
    figures = Readings()
    for sent, event in counted(seed):
        if isinstance(event, Reading):
            subject = subject_of(event.account, event.post_id, event.broadcast_id)
            downward_adjustments = figures.downward_adjustments
            key = ("reading", event.platform, subject, event.metric)
            figures.take(key, event.value, int(event.occurred_at))
            if figures.downward_adjustments > downward_adjustments:
                assert (event.platform, event.post_id) == PURGED
                assert sent >= PURGE_MS
    assert (figures.downward_adjustments, figures.resets) == (1, 0)
    assert figures.late > 0
    [purged] = [history for history in figures.histories.values() if history.downward_adjustments]
    assert purged.lost > 1_000


def test_hashtags_come_in_both_languages_and_many_spellings() -> None:
    """Each pair is written in both languages, with #, ＃ and neither; alias groups bring them together."""
    aliases = AliasTable(scenario().hashtag_aliases)
    spellings: dict[str, set[str]] = defaultdict(set)
    for item in scenario().items:
        if item.expected == ACCEPTED:
            for tag in json.loads(item.line).get("hashtags", ()):
                spellings[aliases.display(aliases.resolve(canonical(tag)))].add(tag)
    for name, members in scenario().hashtag_aliases.items():
        wanted = {f"#{name}", f"＃{name}", name, f"#{name.lower()}", f"#{members[0]}", f"＃{members[0]}"}
        assert wanted <= spellings[name]


def test_the_audience_is_uneven_and_from_some_fifty_countries() -> None:
    """The busiest one in a hundred actors do over a tenth of all; most countries of the list occur."""
    acts: Counter[str] = Counter()
    countries: set[str | None] = set()
    for _, event in counted():
        if isinstance(event, Interaction) and event.actor:
            acts[event.actor.id] += 1
            countries.add(event.actor.country)
    busiest = sum(count for _, count in acts.most_common(len(acts) // 100))
    assert 0.10 * acts.total() < busiest < 0.40 * acts.total()
    assert len(countries - {None}) >= 50
    assert {code for code, _ in COUNTRIES} >= CHINESE_READERS


def test_vips_are_known_by_the_platform_or_by_the_list() -> None:
    """Some VIPs come verified; those of the setting come without a mark, for ingest to set it."""
    listed = set(scenario().vip_actors)
    marks = {
        (f"{event.platform}:{event.actor.id}" in listed, event.actor.verified)
        for _, event in counted()
        if isinstance(event, Interaction) and event.actor and event.actor.name
    }
    assert marks == {(True, None), (False, True)}


@pytest.mark.parametrize("seed", SEEDS)
def test_three_minutes_spike_and_no_other(seed: int) -> None:
    """The spike rule fires for the drums, the ritual dance and the finale, and for no other minute.

    The rule: at least 50, and above 3 times the median of the 30 minutes before, which count 0 where nothing
    was. The margins are wide on both sides, so that a minute which lost some late events decides the same.
    """
    per_minute: Counter[int] = Counter()
    for sent, event in counted(seed):
        on_time = sent == event.occurred_at
        if isinstance(event, Interaction) and event.broadcast_id == BROADCAST_ID and on_time:
            per_minute[(sent - START_MS) // MINUTE_MS] += event.quantity * (event.action in INTERACTIONS)
    strong = {each.minute for each in ceremony.MOMENTS}
    for minute in range(120):
        baseline = median(per_minute[before] for before in range(minute - 30, minute))
        if minute in strong:
            assert per_minute[minute] > 5 * baseline
            assert ceremony.PHASES["started"] <= minute < ceremony.PHASES["ended"]
        else:
            assert per_minute[minute] < 50 or per_minute[minute] < 2.6 * baseline


def test_a_scenario_can_be_cut_short() -> None:
    """``minutes`` keeps the beginning, byte for byte."""
    short = Scenario(minutes=30).items
    assert short == scenario().items[: len(short)]
    assert short[-1].send_at_ms < START_MS + 30 * MINUTE_MS


@pytest.mark.parametrize("platform", ["twitter", "facebook", "instagram"])
@pytest.mark.parametrize("at_ms", [START_MS, START_MS - 180 * MINUTE_MS, END_MS - 1])
def test_times_are_written_as_platforms_write_them(platform: str, at_ms: int) -> None:
    """Whatever the form, the contract reads the same millisecond."""
    assert parse_time(written(platform, at_ms)) == at_ms
