"""Which milestones are decided, with what figures, and how they read."""

from __future__ import annotations

import pytest

from fanpulse.board import wording
from schemas.alerts import ALERT, Milestone, alert_id
from schemas.dimensions import UnknownScopeError
from schemas.hashtags import AliasTable
from services.alerts.deciding.decided import Decided
from services.alerts.deciding.figures import Figures
from services.alerts.deciding.milestones import Milestones
from services.alerts.deciding.rule_file import parse_rules
from services.alerts.deciding.wording import subject_name
from tests.support.totals import START_MS, Change, counted, entry, post, reading, transaction

NOW_MS = START_MS + 11 * 60_000


class Stream:
    """Totals of one partition that grow, and the milestones that come of it."""

    def __init__(self, rules: str, decided: Decided | None = None) -> None:
        self.decided = decided or Decided()
        self.figures = Figures(1)
        aliases = AliasTable({"FuxiCeremony": ["伏羲大典"]})
        self.milestones = Milestones(parse_rules(rules, "test").milestone, self.decided, aliases)
        self.offset = 0

    def add(self, *changes: Change) -> list[Milestone]:
        self.offset += 1
        for key, value in transaction(0, self.offset, changes):
            self.figures.feed(0, key, value)
        found = self.milestones.decide(self.figures, self.figures.take_changed(), NOW_MS)
        for each in found:
            self.decided.note(each)
        return found


def rule(scope: str, metric: str, thresholds: str = "thresholds = [10, 20, 50]", name: str = "r") -> str:
    return f'[[milestone]]\nname = "{name}"\nscope = "{scope}"\nmetric = "{metric}"\n{thresholds}\n'


TRAVEL = ("account", "twitter", "GansuTravel")


def test_a_threshold_is_a_milestone_once() -> None:
    """Nothing below it, one when it is reached, none afterwards."""
    stream = Stream(rule("account", "like"))
    assert stream.add(counted(*TRAVEL, like=9)) == []
    (found,) = stream.add(counted(*TRAVEL, like=13))
    assert (found.threshold, found.total, found.superseded_by) == (10, 13, None)
    assert found.id == alert_id("milestone", "account", "twitter", "GansuTravel", "like", 10)
    assert [(each.partition, each.offset) for each in found.as_of] == [(0, 2)]
    assert stream.add(counted(*TRAVEL, like=19)) == []


def test_of_several_at_once_the_highest_is_delivered() -> None:
    """Each is on record with the same figures; the lower ones name the one that people get."""
    low, mid, top = Stream(rule("account", "like")).add(counted(*TRAVEL, like=60))
    assert [low.threshold, mid.threshold, top.threshold] == [10, 20, 50]
    assert low.superseded_by == mid.superseded_by == top.id
    assert top.superseded_by is None
    assert {low.total, mid.total, top.total} == {60}


def test_what_is_on_record_is_not_decided_again() -> None:
    """After a restart the alert log knows what was decided; only what is missing is added."""
    before = Stream(rule("account", "like"))
    before.add(counted(*TRAVEL, like=13))
    after = Stream(rule("account", "like"), before.decided)
    (found,) = after.add(counted(*TRAVEL, like=25))
    assert found.threshold == 20
    assert found.superseded_by is None


def test_thresholds_added_below_what_is_known_are_no_news() -> None:
    """A rule that is added later puts the thresholds long passed on record, and nobody gets it."""
    before = Stream(rule("account", "like"))
    before.add(counted(*TRAVEL, like=13))
    after = Stream(rule("account", "like", "thresholds = [5, 10]"), before.decided)
    (found,) = after.add(counted(*TRAVEL, like=14))
    assert found.threshold == 5
    assert found.superseded_by == alert_id("milestone", *TRAVEL, "like", 10)


def test_two_rules_with_one_threshold_make_one_milestone() -> None:
    """The rule that stands first has it; of both rules' thresholds the highest is delivered."""
    both = rule("account", "like", "thresholds = [10]", "a") + rule(
        "account", "like", "thresholds = [10, 12]", "b"
    )
    low, high = Stream(both).add(counted(*TRAVEL, like=12))
    assert (low.threshold, low.rule, low.superseded_by) == (10, "a", high.id)
    assert (high.threshold, high.rule, high.superseded_by) == (12, "b", None)


def test_a_subject_that_is_not_meant_has_none() -> None:
    """`match` leaves subjects out for good."""
    rules = rule("account", "like", 'thresholds = [10, 20]\nmatch = { accounts = ["Visit*"] }')
    stream = Stream(rules)
    assert stream.add(counted(*TRAVEL, like=13)) == []
    assert stream.add(counted(*TRAVEL, like=25)) == []
    assert len(stream.add(counted("account", "facebook", "VisitGansu", like=10))) == 1


def test_a_falling_reading_keeps_its_milestones() -> None:
    """A reading that falls and rises again over the same threshold is no second milestone."""
    stream = Stream(rule("account", "reading:followers", "thresholds = [100]"))
    assert len(stream.add(reading("twitter", "GansuTravel", "followers", 101))) == 1
    assert stream.add(reading("twitter", "GansuTravel", "followers", 99)) == []
    assert stream.add(reading("twitter", "GansuTravel", "followers", 102)) == []


def test_a_figure_that_was_reset_has_no_milestone_again() -> None:
    """Reset by the platform, shown again, or grown again from nothing; with a restart in between, and in the
    sum over all accounts: what was decided once is not decided again, and a higher one still is."""
    rules = "".join(
        rule(scope, "reading:followers", "thresholds = [100, 1000, 2000]", scope.replace("_", "-"))
        for scope in ("account", "all_accounts")
    )
    stream = Stream(rules)
    assert len(stream.add(reading("twitter", "GansuTravel", "followers", 1200))) == 4
    reset = reading("twitter", "GansuTravel", "followers", 0)
    assert stream.add(reset) == []
    assert stream.add(reading("twitter", "GansuTravel", "followers", 1210)) == []
    assert stream.add(reset) == []
    restarted = Stream(rules, stream.decided)
    assert restarted.add(reset) == []
    for value in (90, 150, 700, 1300):
        assert restarted.add(reading("twitter", "GansuTravel", "followers", value)) == []
    found = restarted.add(reading("twitter", "GansuTravel", "followers", 2001))
    assert {(each.scope, each.threshold) for each in found} == {("account", 2000), ("all_accounts", 2000)}


def test_an_account_says_what_was_done() -> None:
    """Interactions are listed by action, the three largest, without what does not belong to them."""
    rules = rule("account", "interactions", "thresholds = [10000]")
    change = counted(
        *TRAVEL, at_ms=NOW_MS, like=6102, repost=2900, comment=900, quote=101, read=10**6, unlike=9000
    )
    (found,) = Stream(rules).add(change)
    assert found.text == (
        "Twitter @GansuTravel passed 10,000 interactions (10,003) at 22 Jun 2026 09:41 UTC; "
        "6,102 likes, 2,900 reposts and 900 comments"
    )
    assert [(contributor.name, contributor.count) for contributor in found.top_contributors] == [
        ("like", 6102),
        ("repost", 2900),
        ("comment", 900),
    ]
    assert found.occurred_at == NOW_MS
    assert ALERT.validate_json(found.model_dump_json()) == found


def test_a_milestone_of_all_accounts_says_who() -> None:
    """Sums are listed by account, the three largest."""
    (found,) = Stream(rule("all_accounts", "interactions", "thresholds = [1000]")).add(
        counted(*TRAVEL, like=600),
        counted("account", "facebook", "VisitGansu", like=300),
        counted("account", "instagram", "visitgansu", like=90),
        counted("account", "instagram", "gansu.heritage", like=10),
    )
    assert found.subject == ()
    assert found.text == (
        "The matrix, all accounts together, reached 1,000 interactions at 22 Jun 2026 09:30 UTC; most at "
        "Twitter @GansuTravel (600), Facebook @VisitGansu (300) and Instagram @visitgansu (90)"
    )


def test_followers_of_a_platform_are_summed() -> None:
    """A reading of a platform is the sum of its accounts' readings."""
    (found,) = Stream(rule("platform", "reading:followers", "thresholds = [150]")).add(
        reading("twitter", "GansuTravel", "followers", 100),
        reading("twitter", "GansuHeritage", "followers", 60),
        reading("facebook", "VisitGansu", "followers", 90),
    )
    assert found.subject == ("twitter",)
    assert found.text == (
        "Twitter, all accounts together, passed 150 followers (160) at 22 Jun 2026 09:30 UTC; most by "
        "Twitter @GansuTravel (100) and Twitter @GansuHeritage (60)"
    )


def test_posts_hashtags_and_campaigns_have_names() -> None:
    """A post tells whose it is, a hashtag its display name."""
    rules = "".join(
        rule(scope, "like", "thresholds = [1]", scope) for scope in ("post", "hashtag", "campaign")
    )
    found = Stream(rules).add(
        post("facebook", "p1", "VisitGansu", like=1),
        counted("hashtag", "fuxiceremony", like=1),
        counted("campaign", "heritage-day-2026", like=1),
    )
    assert {each.text.split(" reached ")[0] for each in found} == {
        "Post p1 by Facebook @VisitGansu",
        "#FuxiCeremony",
        "Campaign heritage-day-2026",
    }
    assert all("reached 1 like at" in each.text for each in found)


def test_every_counted_scope_can_have_milestones() -> None:
    """A country, a format, verified actors and a broadcast have names, and the time of their newest event."""
    scopes = ("country", "format", "vip", "broadcast")
    rules = "".join(rule(scope, "like", "thresholds = [1]", scope) for scope in scopes)
    found = Stream(rules).add(
        counted("country", "CN", like=1, at_ms=NOW_MS),
        counted("format", "live", like=1, at_ms=NOW_MS),
        counted("vip", like=1, at_ms=NOW_MS),
        counted("broadcast", "fuxi-2026", like=1, at_ms=NOW_MS),
    )
    assert {each.text for each in found} == {
        f"{name} reached 1 like at 22 Jun 2026 09:41 UTC"
        for name in ("Country CN", "Post format live", "Verified actors together", "Live broadcast fuxi-2026")
    }
    assert {each.occurred_at for each in found} == {NOW_MS}
    assert {each.subject for each in found} == {("CN",), ("live",), (), ("fuxi-2026",)}


def test_a_broadcast_has_its_title_and_waits_for_its_account() -> None:
    """Counts may come before anyone has said whose broadcast it is: a rule for accounts decides then."""
    match = 'thresholds = [10]\nmatch = { accounts = ["Visit*"] }'
    stream = Stream(rule("broadcast", "like", match))
    counts = {"actions": {"like": 12}, "last_ms": START_MS}
    assert stream.add(entry(("broadcast", "b"), **counts)) == []
    about = {"account": "VisitGansu", "title": "Fuxi Ceremony", "phases": {"started": START_MS}}
    (found,) = stream.add(entry(("broadcast", "b"), **counts, **about))
    assert found.subject == ("b",)
    assert found.text == "Live broadcast Fuxi Ceremony passed 10 likes (12) at 22 Jun 2026 09:30 UTC"
    others = Stream(rule("broadcast", "like", match))
    assert others.add(entry(("broadcast", "b"), **counts, **about | {"account": "GansuTravel"})) == []


def test_an_unknown_scope_is_never_all_accounts() -> None:
    """The sentence of an alert names its subject, or there is no sentence."""
    with pytest.raises(UnknownScopeError, match="unknown scope 'galaxy'"):
        subject_name("galaxy", ("M31",), None, AliasTable())
    with pytest.raises(UnknownScopeError, match="unknown scope 'galaxy'"):
        wording.subject("galaxy", ("M31",), AliasTable())
