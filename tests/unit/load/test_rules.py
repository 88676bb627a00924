"""`fanpulse load`: what --kind, --map and --set may say."""

from __future__ import annotations

import pytest

from fanpulse.load.parsing.fields import FieldType, all_fields, closest, fields_of
from fanpulse.load.parsing.rules import RulesError, parse_rules


def test_fields_are_those_of_the_contract() -> None:
    """The table of fields is derived from the models: nested paths, shapes, and what a kind needs."""
    post, interaction = fields_of("post"), fields_of("interaction")
    assert post["post_id"].required
    assert not post["hashtags"].required
    assert post["hashtags"].field_type is FieldType.HASHTAGS
    assert interaction["actor.country"].field_type is FieldType.TEXT
    assert interaction["actor.verified"].field_type is FieldType.BOOLEAN
    assert not interaction["actor.id"].required
    assert interaction["quantity"].field_type is FieldType.INTEGER
    assert {"kind", "v"}.isdisjoint(all_fields())


def test_rules_hold_what_was_said() -> None:
    """Maps name columns as they are; set values have the type of their field."""
    rules = parse_rules(
        "interaction", ["occurred_at=Zeit (UTC)"], ["quantity=5", "hashtags=a b", "actor.verified=1"]
    )
    assert rules.maps == {"occurred_at": "Zeit (UTC)"}
    assert rules.sets == {"quantity": 5, "hashtags": ["a", "b"], "actor.verified": True}


@pytest.mark.parametrize(
    ("kind", "maps", "sets", "says"),
    [
        ("posts", [], [], "did you mean post?"),
        (None, ["hashtag=tags"], [], "did you mean hashtags?"),
        ("interaction", ["country=land"], [], "did you mean actor.country?"),
        ("post", [], ["action=like"], "post has no such field"),
        ("post", ["occurred_at"], [], "write it as field=column"),
        ("post", ["occurred_at="], [], "write it as field=column"),
        ("post", [], ["=x"], "write it as field=value"),
        ("post", ["account=a", "account=b"], [], "given twice"),
        ("post", ["account=a"], ["account=b"], "by --map and by --set"),
        (None, [], ["kind=post"], "by --kind"),
        ("interaction", [], ["action=retweet"], "input should be 'like', 'comment'"),
        ("interaction", [], ["quantity=12,400"], "no whole number"),
        ("interaction", [], ["quantity=0"], "greater than or equal to 1"),
        ("interaction", [], ["post_id=1.2E+17"], "rounded"),
        ("interaction", [], ["actor.country=China"], "at most 2 characters"),
        ("post", [], ["occurred_at=yesterday"], "no time in a known notation; --time-format says"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_rejected_in_one_line_that_helps(
    kind: str | None, maps: list[str], sets: list[str], says: str
) -> None:
    """An option that would make every row wrong is rejected before the first row, with a suggestion."""
    with pytest.raises(RulesError) as caught:
        parse_rules(kind, maps, sets)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_time_zone_is_rejected() -> None:
    """--timezone names one of the IANA zones."""
    with pytest.raises(RulesError, match="Mars/Olympus"):
        parse_rules(zone="Mars/Olympus")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("hashtag", "hashtags"), ("country", "actor.country"), ("actor_id", "actor.id"), ("Post ID", "post_id"),
     ("acount", "account"), ("qqqq", None)],
)  # fmt: skip
def test_the_closest_name(name: str, meant: str | None) -> None:
    """Misspelt, shortened and differently written names find the field that was meant."""
    assert closest(name, fields_of("interaction")) == meant


@pytest.mark.parametrize(
    ("time_format", "says"),
    [
        ("%H:%M", "says no day"),
        ("%d/%m", "says no day"),
        ("%Q %d/%m/%Y", "%Q|says no day|Q"),
        ("soon", "says no day"),
    ],
)
def test_a_time_format_has_to_say_a_day(time_format: str, says: str) -> None:
    """Else every row would be of 1900."""
    with pytest.raises(RulesError, match=says):
        parse_rules("post", time_format=time_format)
    assert (
        parse_rules("post", time_format="%d/%m/%Y %H:%M").times().read("08/11/2026 18:12")
        == 1_794_161_520_000
    )
