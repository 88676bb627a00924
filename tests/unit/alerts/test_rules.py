"""The rule file of alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

import services.alerts
from schemas.hashtags import AliasTable
from services.alerts.deciding.rule_file import RulesError, parse_rules
from services.alerts.deciding.rules import Match, MilestoneRule, SpikeRule

DEFAULT = Path(services.alerts.__file__).with_name("rules.toml")


def milestone(**keys: object) -> MilestoneRule:
    lines = [f"{key} = {value!r}".replace("'", '"') for key, value in keys.items()]
    base = ['name = "x"', *lines]
    return parse_rules("[[milestone]]\n" + "\n".join(base), "test").milestone[0]


def steps(rule: MilestoneRule, count: int) -> list[int]:
    def walk() -> Iterator[int]:
        at = rule.first
        while at is not None:
            yield at
            at = rule.after(at)

    return list(islice(walk(), count))


@pytest.mark.parametrize(
    ("ladder", "start", "expected"),
    [
        ("1-2-5", 1000, [1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000]),
        ("1-2-5", 1500, [2000, 5000, 10_000]),
        ("1-2-5", 6000, [10_000, 20_000]),
        ("1-5", 1, [1, 5, 10, 50]),
        ("1", 500, [1000, 10_000, 100_000]),
        ("1-2-3-4-5-6-7-8-9", 80_000, [80_000, 90_000, 100_000, 200_000]),
    ],
)
def test_a_ladder_repeats_its_digits_in_every_power_of_ten(
    ladder: str, start: int, expected: list[int]
) -> None:
    """The steps are the digits times the powers of ten, from the first at or above `from`."""
    rule = milestone(scope="all_accounts", metric="like", ladder=ladder, **{"from": start})
    assert steps(rule, len(expected)) == expected


def test_a_ladder_ends_with_to() -> None:
    """`to` is the last step that may be, inclusive."""
    rule = milestone(scope="all_accounts", metric="like", ladder="1-2-5", to=5000, **{"from": 1000})
    assert steps(rule, 10) == [1000, 2000, 5000]


def test_thresholds_can_be_listed() -> None:
    """An explicit list gives its own steps."""
    rule = milestone(scope="account", metric="reading:followers", thresholds=[100, 888, 1000])
    assert steps(rule, 10) == [100, 888, 1000]
    assert rule.after(100) == 888
    assert rule.after(887) == 888
    assert rule.after(1000) is None


def test_the_default_rules_are_valid() -> None:
    """The rules that come with fanpulse can be read, and cover what people ask for first."""
    rules = parse_rules(DEFAULT.read_text(), "rules.toml")
    assert {rule.scope for rule in rules.milestone} >= {
        "all_accounts",
        "account",
        "post",
        "hashtag",
        "campaign",
    }
    assert rules.spike


def test_the_head_of_the_rule_file_documents_every_key() -> None:
    """Every key of a rule is named there, and every scope, action and reading that it names is accepted."""
    head = DEFAULT.read_text().partition("\n\n")[0]
    words = set(re.findall(r"[a-z_]+", head))
    for table in (MilestoneRule, SpikeRule, Match):
        assert {field.alias or name for name, field in table.model_fields.items()} <= words
    (scopes,) = re.findall(r"#   scope +(.*)", head)
    assert len(scopes.split(" | ")) > 5
    for scope in scopes.split(" | "):
        assert milestone(scope=scope, metric="like", thresholds=[1]).scope == scope
    (actions,) = re.findall(r"an action by itself: ([^:]*)reading:", head)
    metrics = [*re.findall(r"[a-z_]+", actions), *re.findall(r"reading:[a-z]+", head)]
    assert len(metrics) > 15
    for metric in metrics:
        assert milestone(scope="account", metric=metric, thresholds=[1]).metric == metric


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[milestone", "rules.toml is not TOML: "),
        ("\n[[spike]]\nname s", "rules.toml line 3 is not TOML: "),
        ("", "rules.toml has no [[milestone]] and no [[spike]]"),
        ("[[milestones]]", "rules.toml line 1: milestones: unknown key; did you mean milestone?"),
        ('[[milestone]]\nscope = "all_accounts"', "milestone number 1: name: is missing"),
        (
            '[[spike]]\nname = "s"\nfaktor = 2',
            "spike 's': faktor (it is 2): unknown key; did you mean factor?",
        ),
        ('[[spike]]\nname = "s"\nfactor = 1.0', "spike 's': factor (it is 1.0): "),
        ('[[spike]]\nname = "s"\nmin_history = 31', "spike 's': min_history is at most window_minutes"),
        ('[[spike]]\nname = "s"\n[[spike]]\nname = "s"', "two rules have the name 's'"),
        (
            '[[spike]]\nname = "s"\nmatch = { hashtags = ["a"] }',
            "'s': match.hashtags says nothing about scope",
        ),
        ('[[spike]]\nname = "s"\nmetric = "claps"', "spike 's': metric (it is 'claps'): a metric is one of"),
        ('[[spike]]\nname = "Über"', "spike 'Über': name (it is 'Über')"),
    ],
)
def test_a_wrong_file_is_rejected_in_one_line(text: str, message: str) -> None:
    """The line names the file, the rule and the key."""
    with pytest.raises(RulesError) as raised:
        parse_rules(text, "rules.toml")
    assert message in str(raised.value)
    assert str(raised.value).startswith("rules.toml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('scope = "galaxy"\nmetric = "like"\nladder = "1"\nfrom = 1', "scope (it is 'galaxy')"),
        (
            'scope = "all_accounts"\nmetric = "likes"\nladder = "1"\nfrom = 1',
            "reading; did you mean like?",
        ),
        (
            'scope = "all_accounts"\nmetric = "reading:x"\nladder = "1"\nfrom = 1',
            "a reading is one of followers",
        ),
        ('scope = "post"\nmetric = "reading:likes"\nladder = "1"\nfrom = 1', "reading:likes is of accounts"),
        (
            'scope = "post"\nmetric = "post"\nladder = "1"\nfrom = 1',
            "metric post is not counted for scope post",
        ),
        (
            'scope = "country"\nmetric = "post"\nladder = "1"\nfrom = 1',
            "metric post is not counted for scope country",
        ),
        (
            'scope = "vip"\nmetric = "like"\nthresholds = [5]\nmatch = { countries = ["CN"] }',
            "match.countries says nothing about scope vip",
        ),
        ('scope = "all_accounts"\nmetric = "like"', "either ladder or thresholds is needed"),
        ('scope = "all_accounts"\nmetric = "like"\nladder = "1"\nthresholds = [1]', "not both"),
        ('scope = "all_accounts"\nmetric = "like"\nladder = "1"', "ladder needs from"),
        ('scope = "all_accounts"\nmetric = "like"\nladder = "2-5"\nfrom = 1', "ladder (it is '2-5')"),
        ('scope = "all_accounts"\nmetric = "like"\nladder = "1-5-2"\nfrom = 1', "the digits of ladder rise"),
        (
            'scope = "all_accounts"\nmetric = "like"\nladder = "1"\nfrom = 2\nto = 9',
            "no step between from and to",
        ),
        ('scope = "all_accounts"\nmetric = "like"\nladder = "1"\nfrom = 0', "from (it is 0)"),
        ('scope = "all_accounts"\nmetric = "like"\nladder = "1"\nfrom = "10"', "from (it is '10')"),
        (
            'scope = "all_accounts"\nmetric = "like"\nthresholds = []',
            "thresholds is a list of numbers that rise",
        ),
        (
            'scope = "all_accounts"\nmetric = "like"\nthresholds = [5, 5]',
            "thresholds is a list of numbers that rise",
        ),
        (
            'scope = "all_accounts"\nmetric = "like"\nthresholds = [5]\nfrom = 3',
            "from and to belong to ladder",
        ),
        (
            'scope = "account"\nmetric = "like"\nthresholds = [5]\nmatch = { accounts = [] }',
            "match.accounts (it is []): an empty list matches nothing",
        ),
        (
            'scope = "hashtag"\nmetric = "like"\nthresholds = [5]\nmatch = { hashtags = ["a b"] }',
            "a hashtag has no white space",
        ),
        (
            'scope = "all_accounts"\nmetric = "like"\nthresholds = [5]\nmatch = { accounts = ["a"] }',
            "match.accounts says nothing about scope all_accounts",
        ),
    ],
)
def test_a_wrong_milestone_is_rejected(keys: str, message: str) -> None:
    """What does not fit together is named, with the rule."""
    with pytest.raises(RulesError) as raised:
        parse_rules(f'[[milestone]]\nname = "big"\n{keys}', "rules.toml")
    assert message in str(raised.value)
    assert "milestone 'big'" in str(raised.value)


ALIASES = AliasTable({"GansuHeritage": ["文化和自然遗产日"]})


@pytest.mark.parametrize(
    ("scope", "match", "subject", "matches"),
    [
        ("account", '{ accounts = ["GansuTravel"] }', ("twitter", "GansuTravel"), True),
        ("account", '{ accounts = ["twitter:Gansu*"] }', ("twitter", "GansuTravel"), True),
        ("account", '{ accounts = ["twitter:Gansu*"] }', ("facebook", "GansuCulture"), False),
        ("account", '{ platforms = ["facebook"], accounts = ["Gansu*"] }', ("twitter", "GansuTravel"), False),
        ("platform", '{ platforms = ["f*"] }', ("facebook",), True),
        ("hashtag", '{ hashtags = ["#文化和自然遗产日"] }', ("gansuheritage",), True),
        ("hashtag", '{ hashtags = ["GANSU*"] }', ("gansuheritage",), True),
        ("hashtag", '{ hashtags = ["fuxi*"] }', ("gansuheritage",), False),
        ("campaign", '{ campaigns = ["fuxi-*"] }', ("fuxi-ceremony-2026",), True),
        ("country", '{ countries = ["C*"] }', ("CN",), True),
        ("country", '{ countries = ["C*"] }', ("DE",), False),
        ("format", '{ formats = ["live", "video"] }', ("graphic",), False),
        ("broadcast", '{ broadcasts = ["fuxi-*"], accounts = ["VisitGansu"] }', ("fuxi-2026",), True),
        ("broadcast", '{ accounts = ["facebook:VisitGansu"] }', ("fuxi-2026",), False),
        ("post", '{ accounts = ["VisitGansu"] }', ("facebook", "p1"), True),
        ("post", '{ accounts = ["GansuCulture"] }', ("facebook", "p1"), False),
    ],
)
def test_match_selects_subjects(scope: str, match: str, subject: tuple[str, ...], matches: bool) -> None:
    """Globs over handle, platform:handle, hashtag (any alias, any case) and campaign; all lists must fit."""
    text = f'[[milestone]]\nname = "x"\nscope = "{scope}"\nmetric = "like"\nthresholds = [1]\nmatch = {match}'
    rule = parse_rules(text, "test").milestone[0]
    assert rule.matches(subject, "VisitGansu" if scope in ("post", "broadcast") else None, ALIASES) is matches


def test_every_mistake_is_named_with_its_line() -> None:
    """Not only the first: you mend a file in one go. Lines count from 1."""
    text = """
[[milestone]]
name = "big"
scope = "galaxy"
metric = "likes"
thresholds = [1]

[[spike]]
name = "s"
match = { broadcasts = [] }
factor = 0.5
"""
    with pytest.raises(RulesError) as raised:
        parse_rules(text, "r.toml")
    said = raised.value.mistakes
    assert [each.partition(": ")[0] for each in said] == [
        "r.toml line 4",
        "r.toml line 5",
        "r.toml line 10",
        "r.toml line 11",
    ]
    assert "must be one of all_accounts, platform, account" in said[0]
    assert said[1].endswith("did you mean like?")
    assert said[3].endswith("spike 's': factor (it is 0.5): must be more than 1")
