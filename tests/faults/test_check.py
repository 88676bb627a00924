"""The check sees every figure, and the log has what a seed promises."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice

import pytest

from tests.faults.check import SCOPES, Published, differences, samples
from tests.faults.recount import DedupWindow, Recount, entries, recount
from tests.faults.stream import Stream

DEDUP_WINDOW = DedupWindow(segment_events=1_000, segments=2, segment_ms=1_800_000)


@pytest.fixture(scope="module")
def counted() -> Recount:
    """A recount of a log of one partition."""
    values = [value for _, value in islice(Stream(seed=5, partitions=1), 900)]
    return recount(enumerate(values), DEDUP_WINDOW)


def published(counted: Recount) -> Published:
    """What an aggregator without a fault publishes of it."""
    totals = copy.deepcopy(counted.totals)
    found = Published(
        totals, dict(counted.checkpoint), counted.rolling.copy(), dead_letters=list(counted.rejected)
    )
    for key, entry in totals.items():
        if key[0] in ("account", "hashtag"):
            found.events.update({(*key, action): n for action, n in entry["actions"].items()})
    return found


def corrupted(counted: Recount) -> Iterator[tuple[str, Published]]:
    """Publications with one mistake each, and where it is."""
    for scope in SCOPES:
        keys = [key for key in counted.totals if key[0] == scope]
        assert keys, f"the log has nothing for {scope}"
        found = published(counted)
        del found.totals[keys[0]]
        yield f"{scope} missing", found
        found = published(counted)
        entry = found.totals[keys[-1]]
        if scope == "reading":
            entry["value"] += 1
        else:
            entry["actions"][next(iter(entry["actions"]))] += 1
        yield f"{scope} off by one", found
    found = published(counted)
    found.totals["account", "twitter", "nobody"] = {"actions": {"like": 1}, "last_ms": 0}
    yield "surplus entry", found
    for name in counted.checkpoint:
        found = published(counted)
        found.checkpoint[name] -= 1
        yield f"checkpoint {name}", found
    for window in ("1m", "5m", "1h", "24h"):
        found = published(counted)
        found.rolling[next(key for key in counted.rolling if key[0] == window)] += 1
        yield f"rolling {window}", found
    found = published(counted)
    found.events[next(iter(found.events))] -= 1
    yield "event count on /metrics", found
    for dead_letters in (counted.rejected[1:], [*counted.rejected, counted.rejected[0]]):
        found = published(counted)
        found.dead_letters = dead_letters
        yield f"{len(dead_letters)} dead letters", found


def test_the_check_sees_every_mistake(counted: Recount) -> None:
    """Nothing differs in a correct publication, and exactly one line tells of one mistake, wherever it is."""
    assert list(differences(counted, published(counted))) == []
    for where, found in corrupted(counted):
        assert len(list(differences(counted, found))) == 1, where


def test_samples_of_an_exposition_are_read() -> None:
    """Rolling counts and event counts are read with their labels; everything else is passed over."""
    text = (
        "# HELP fanpulse_account_rolling ...\n"
        'fanpulse_hashtag_rolling{action="like",hashtag="伏羲\\"大典",partition="2",window="5m"} 7.0\n'
        'fanpulse_account_events_total{account="a",action="like",partition="0",platform="x"} 1.2e+03\n'
        "fanpulse_fenced_total 0.0\n"
    )
    assert [(kind, labels.get("hashtag"), labels["scope"], n) for kind, labels, n in samples(text)] == [
        ("rolling", '伏羲"大典', "hashtag", 7),
        ("events_total", None, "account", 1200),
    ]


def test_a_log_is_the_same_for_a_seed_and_holds_all_that_is_promised() -> None:
    """The log of a seed is the same each time: 5 % of its entries repeat an id, 1 % are not events, some are
    out of order by up to ten minutes, and some are later than a day."""
    log, again = (list(islice(Stream(seed=7, partitions=3), 4_000)) for _ in range(2))
    assert log == again
    found = [entry for _, value in log for entry in entries(value)]
    events = [e for e in found if isinstance(e, dict) and e.get("v") == 1 and e.get("kind") != "clock"]
    ids = [event.get("event_id") for event in events]
    assert 0.04 < 1 - len(set(ids)) / len(ids) < 0.06
    counts = [recount(enumerate(v for p, v in log if p == partition), DEDUP_WINDOW) for partition in range(3)]
    rejected = sum(each.checkpoint["rejected"] for each in counts)
    assert 0.005 < rejected / len(found) < 0.02
    assert all(each.checkpoint["late"] for each in counts)
    behind, stream_time = 0, 0
    for entry in found:
        if isinstance(entry, dict) and entry.get("kind") == "clock" and entry["v"] == 1:
            stream_time = entry["stream_time"]
        elif isinstance(entry, dict) and isinstance(entry.get("occurred_at"), int):
            behind += 10_000 < stream_time - entry["occurred_at"] <= 600_000
    assert behind / len(found) > 0.05
    assert {entry.get("kind") for entry in events} >= {"interaction", "post", "reading", "broadcast"}
