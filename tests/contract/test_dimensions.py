"""The table of what is counted, and what the audit counts by code of its own."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from schemas import log
from schemas.dimensions import (
    ALERT_SCOPES,
    COUNTED_SCOPES,
    DIMENSIONS,
    Dimension,
    KeyField,
    Kind,
    UnknownScopeError,
    counted_fields,
    dimension_named,
    scope_named,
)
from schemas.events import LOG_ENTRY, MODELS, Actor
from schemas.hashtags import AliasTable
from schemas.totals_schema import SCOPES
from services.audit.recounting import engine, entries
from services.audit.recounting.rules import RuleFileError, read_rules

KINDS: tuple[Kind, ...] = ("interaction", "post")


def test_the_audit_counts_every_dimension_and_no_other() -> None:
    """Its SQL is written apart; a scope that is in one of the two only would never be compared."""
    sql = engine.statements("recount")["subjects"]
    assert sorted(re.findall(r"select \*, '(\w+)'", sql)) == sorted(COUNTED_SCOPES)


def test_the_audit_matches_rules_of_every_scope() -> None:
    """A rule of any scope of the table is decided again; one of another scope is an error that names it."""
    for scope in ALERT_SCOPES:
        rule = f'[[milestone]]\nname="r"\nscope="{scope}"\nmetric="like"\nthresholds=[1]'
        names = ["x" for _ in scope_named(scope).keys]
        assert read_rules(rule).milestones[0].matches(names, "x", AliasTable())
    with pytest.raises(RuleFileError, match="'galaxy'"):
        read_rules(rule.replace(f'"{scope}"', '"galaxy"')).milestones[0].matches(["x"], "", AliasTable())


def test_the_audit_has_the_same_constants() -> None:
    """Grace, keep and reset are written twice on purpose, and are equal."""
    assert (engine.MINUTE_MS, engine.GRACE_MS) == (log.MINUTE_MS, log.GRACE_MS)
    assert (engine.KEPT_MS, engine.RESET_LEAST) == (log.KEEP_MS, log.RESET_LEAST)
    assert entries.MAX_CLOCK_AHEAD_MS == log.MAX_CLOCK_AHEAD_MS


def test_every_dimension_has_entries_in_the_schema_of_totals() -> None:
    """What is counted is stored under its scope."""
    assert set(COUNTED_SCOPES) <= set(SCOPES)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_counted_is_a_field_of_the_contract(kind: Kind) -> None:
    """Each source of the table is a field of the event, or of its actor, and the log's struct has it."""
    struct: Any = log.Interaction if kind == "interaction" else log.Post
    for name in counted_fields(kind):
        parent, _, field = name.rpartition(".")
        model, fields = (Actor, log.LogActor) if parent else (MODELS[kind], struct)
        assert field in model.model_fields
        assert field in fields.__struct_fields__


EVENT = {
    "v": 1, "event_id": "e", "occurred_at": 1_782_120_600_000, "platform": "twitter", "account": "a",
}  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "interaction", "action": "like", "quantity": 2, "post_id": "p", "broadcast_id": "b"}
        | {"hashtags": ["a"], "campaign": "c", "post_format": "live"}
        | {"actor": {"id": "1", "country": "CN", "verified": True}},
        {"kind": "post", "post_id": "p", "format": "video", "hashtags": ["a"], "campaign": "c"},
        {"kind": "reading", "metric": "reads", "value": 3, "post_id": "p"},
        {"kind": "broadcast", "broadcast_id": "b", "phase": "started", "title": "t"},
        {"kind": "clock", "stream_time": 1_782_120_600_000, "source": "wall"},
    ],
    ids=lambda fields: fields["kind"],
)
def test_a_reader_of_the_log_reads_what_the_contract_says(fields: dict[str, Any]) -> None:
    """Every field that a struct of schemas.log has is the one of the model, with its value."""
    said = {"v": 1, **fields} if fields["kind"] == "clock" else EVENT | fields
    model = LOG_ENTRY.validate_python(said)
    entry = msgspec.convert(said, log.Entry)
    assert type(entry).__name__ == type(model).__name__
    for name in entry.__struct_fields__:
        if name != "actor":
            assert getattr(entry, name) == getattr(model, name), name
        elif entry.actor:
            assert entry.actor == log.LogActor(model.actor.country, model.actor.verified)


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ((KeyField("platform"), KeyField("country", field="actor.country")), {"kinds": ("interaction",)}),
        ((KeyField("country", field="actor.country"),), {}),
        ((KeyField("hashtag", field="hashtags", many=True), KeyField("platform")), {}),
        ((), {"only_if": "actor.verified", "kinds": ("interaction",), "summed": True}),
    ],
    ids=["event and actor", "actor of a post", "many first", "sum without a name"],
)
def test_a_row_that_cannot_be_counted_is_no_row(keys: tuple[KeyField, ...], options: dict[str, Any]) -> None:
    """What the aggregator could not count right is an error at import, not a wrong figure."""
    with pytest.raises(AssertionError, match="odd: "):
        Dimension(scope="odd", keys=keys, meaning="", heading="", title="", short="", **options)


def test_an_unknown_scope_is_named() -> None:
    """It is an error that says which scope, and never taken for another one."""
    for find in (scope_named, dimension_named):
        with pytest.raises(UnknownScopeError, match="unknown scope 'galaxy'"):
            find("galaxy")
    with pytest.raises(UnknownScopeError, match="'platform' is a sum over accounts"):
        dimension_named("platform")


def test_titles_name_subjects_by_their_keys() -> None:
    """Each name of a key that a title or a short form asks for exists."""
    for each in DIMENSIONS:
        names = dict.fromkeys(each.names, "x")
        assert each.title.format_map(names)
        assert each.short.format_map(names)
