"""What a rule will tell, in plain words."""

from __future__ import annotations

import pytest

from schemas.dimensions import ALERT_SCOPES
from schemas.hashtags import AliasTable
from services.alerts.deciding.rule_file import parse_rules
from services.alerts.deciding.rule_words import milestone_words, spike_words

ALIASES = AliasTable({"GansuHeritage": ["文化和自然遗产日"]})


def words(keys: str) -> str:
    return milestone_words(parse_rules(f'[[milestone]]\nname = "x"\n{keys}', "r").milestone[0], ALIASES)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            'scope = "hashtag"\nmetric = "interactions"\nthresholds = [5, 100, 1000]\n'
            'match = { hashtags = ["文化和自然遗产日", "b*"] }',
            "tells when one hashtag reaches 5 interactions, then 100 and 1,000; "
            "only hashtags #GansuHeritage or #b*",
        ),
        (
            'scope = "account"\nmetric = "like"\nladder = "1"\nfrom = 10\n'
            'match = { platforms = ["x"], accounts = ["a"] }',
            "tells when one account reaches 10 likes, then 100, 1,000, 10,000 and so on; "
            "only platforms x and accounts a",
        ),
        (
            'scope = "all_accounts"\nmetric = "reading:followers"\nladder = "1-5"\nfrom = 1\nto = 100000',
            "tells when the sum of all accounts reaches 1 followers, then 5, 10, 50 and so on up to 100,000",
        ),
        (
            'scope = "vip"\nmetric = "unlike"\nladder = "1-5"\nfrom = 1\nto = 5',
            "tells when the sum of verified actors reaches 1 withdrawn likes, then 5",
        ),
        ('scope = "post"\nmetric = "like"\nthresholds = [7]', "tells when one post reaches 7 likes"),
    ],
)
def test_a_milestone_rule_says_what_it_tells(keys: str, said: str) -> None:
    """Subject, thresholds and match, with the display name of a hashtag."""
    assert words(keys) == said


@pytest.mark.parametrize("scope", ALERT_SCOPES)
def test_every_scope_has_words(scope: str) -> None:
    """Those of the table of dimensions."""
    assert words(f'scope = "{scope}"\nmetric = "like"\nthresholds = [7]').endswith("reaches 7 likes")


def test_a_spike_rule_says_what_it_tells() -> None:
    """All of its numbers are in the sentence."""
    text = (
        '[[spike]]\nname = "s"\nfactor = 2.5\nmin_count = 1000\nquiet_minutes = 1\n'
        'match = { broadcasts = ["b"] }'
    )
    assert spike_words(parse_rules(text, "r").spike[0], ALIASES) == (
        "tells when a minute of a live broadcast has at least 1,000 interactions and more than 2.5 times as "
        "many as is typical of the 30 minutes before (at least 10 of them); after 1 calm minute again; only "
        "broadcasts b"
    )
