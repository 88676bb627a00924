"""Figures are applied at checkpoints, and sums follow their accounts."""

from __future__ import annotations

from schemas.alerts import AsOf
from services.alerts.deciding.figures import ALL_ACCOUNTS, Figures, metric_value
from tests.support.totals import (
    MINUTE_MS,
    START_MS,
    Change,
    checkpoint,
    counted,
    entry,
    minute,
    reading,
    transaction,
)

TRAVEL = ("account", "twitter", "GansuTravel")


def fed(partitions: int, *records: tuple[int, list[Change]]) -> Figures:
    figures = Figures(partitions)
    for partition, changes in records:
        for key, value in changes:
            assert figures.feed(partition, key, value) == 0
    return figures


def test_entries_show_when_their_checkpoint_has_come() -> None:
    """Half a transaction is no state: its entries are held until their checkpoint."""
    figures = fed(1, (0, transaction(0, 7, [counted(*TRAVEL, like=5)])))
    for key, value in [counted(*TRAVEL, like=9), counted("hashtag", "a", like=1)]:
        figures.feed(0, key, value)
    assert figures.counts(TRAVEL) == {"like": 5}
    assert figures.as_of() == (AsOf(partition=0, offset=7),)
    figures.feed(0, *checkpoint(0, 8))
    assert figures.counts(TRAVEL) == {"like": 9}
    assert figures.as_of() == (AsOf(partition=0, offset=8),)


def test_partitions_add_up() -> None:
    """A subject's figure is the sum of its partials; those of platforms and of all are sums of accounts."""
    figures = fed(
        2,
        (
            0,
            transaction(
                0, 1, [counted(*TRAVEL, like=5, repost=1), counted("account", "facebook", "v", like=2)]
            ),
        ),
        (1, transaction(1, 4, [counted(*TRAVEL, like=7, at_ms=START_MS + 9)])),
        (1, transaction(1, 5, [counted(*TRAVEL, like=8, at_ms=START_MS + 10)])),
    )
    assert figures.counts(TRAVEL) == {"like": 13, "repost": 1}
    assert figures.counts(("platform", "twitter")) == {"like": 13, "repost": 1}
    assert figures.counts(ALL_ACCOUNTS) == {"like": 15, "repost": 1}
    assert metric_value(figures.counts(ALL_ACCOUNTS), "interactions") == 16
    assert figures.last_ms(ALL_ACCOUNTS, "like") == START_MS + 10
    assert [each.offset for each in figures.as_of()] == [1, 5]


def test_readings_of_accounts_add_up_and_may_fall() -> None:
    """The sum of followers follows each account's reading; readings of posts are no part of it."""
    figures = fed(
        2,
        (0, transaction(0, 1, [reading("twitter", "GansuTravel", "followers", 100)])),
        (1, transaction(1, 1, [reading("twitter", "GansuHeritage", "followers", 50)])),
        (1, transaction(1, 2, [reading("twitter", "post/9", "followers", 1000)])),
        (0, transaction(0, 2, [reading("twitter", "GansuTravel", "followers", 90, START_MS + 5)])),
    )
    assert figures.counts(TRAVEL) == {"reading:followers": 90}
    assert figures.counts(ALL_ACCOUNTS) == {"reading:followers": 140}
    assert figures.last_ms(ALL_ACCOUNTS, "reading:followers") == START_MS + 5
    assert figures.last_ms(TRAVEL, "reading:followers") == START_MS + 5
    assert list(figures.accounts(ALL_ACCOUNTS)) == [TRAVEL, ("account", "twitter", "GansuHeritage")]


def test_changed_subjects_are_given_once() -> None:
    """Only what may have changed is looked at again, with the sums that it is part of."""
    figures = fed(1, (0, transaction(0, 1, [counted(*TRAVEL, like=5), counted("hashtag", "a", like=1)])))
    assert figures.take_changed() == {TRAVEL, ("platform", "twitter"), ALL_ACCOUNTS, ("hashtag", "a")}
    assert figures.take_changed() == set()


def test_a_minute_is_closed_when_every_partition_says_so() -> None:
    """An entry must be closed; without one, the partition's stream time must be 65 s past its start."""
    at = START_MS
    figures = fed(2, (0, transaction(0, 1, [minute("b", at, 3)], at + 65_000)))
    assert figures.minute("b", at) is None, "partition 1 has not been heard of"
    for key, value in transaction(1, 1, [minute("b", at, 4, closed=False)], at + 64_999):
        figures.feed(1, key, value)
    assert figures.minute("b", at) is None, "stream time of partition 1 is a millisecond short"
    for key, value in transaction(1, 2, [minute("b", at, 5)], at + 65_000):
        figures.feed(1, key, value)
    assert figures.minute("b", at) == {"like": 8}
    assert figures.minute("b", at - MINUTE_MS) == {}, "a closed minute without entries is zero"
    assert figures.minute("b", at + MINUTE_MS) is None


def test_what_cannot_be_read_is_left_out_and_counted() -> None:
    """A record of no known kind does not stop the others."""
    figures = Figures(1)
    assert figures.feed(0, b"no json", b"{}") == 1
    assert figures.feed(0, b"3", b"{}") == 1
    assert figures.feed(0, b"[]", b"{}") == 0
    assert figures.feed(0, b'["account","twitter"]', b"{}") == 1
    assert figures.feed(0, b'["account","twitter","x"]', b"[1]") == 0
    assert figures.feed(0, *counted(*TRAVEL, like=5)) == 0
    assert figures.feed(0, *checkpoint(0, 1)) == 1
    assert figures.counts(TRAVEL) == {"like": 5}


def test_what_alerts_do_not_use_is_passed_over() -> None:
    """Buckets, and scopes of a newer release, are not kept in memory."""
    unused = [entry(("bucket", 1000, 0, 0), rows=[]), counted("galaxy", "M31", like=4)]
    figures = fed(1, (0, transaction(0, 1, unused)))
    assert figures.take_changed() == set()
    assert figures.counts(("galaxy", "M31")) == {}
