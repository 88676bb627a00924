"""A field of one's own that is counted, `sentiment`: the contract, a row of the table, a row of the audit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.newcomer.tree import AUDIT, COUNT, DECIDE, Tree

FIELD = "    actor: Actor | None = None\n\n\nclass Post"
ROW = """    Dimension(
        scope="sentiment",
        keys=(KeyField("sentiment", match="sentiments"),),
        kinds=("interaction",),
        windowed=%s,
        summed=%s,
        meaning="interactions of a sentiment",
        heading="Sentiments",
        title="Sentiment {sentiment}",
        short="sentiment {sentiment}",
    ),
)

#: From the widest"""

SCRIPT = (
    COUNT
    + DECIDE
    + AUDIT
    + """
import jsonschema
from schemas.json_schema import event_schema
from schemas.log import Interaction
from schemas.totals_schema import key_schema, totals_schema
from fanpulse.cli.totals import as_json
from services.alerts.deciding.rule_file import RulesError

moods = ["positive", "positive", "negative", "positive", None]
state, changes, view = count(*(event(number, sentiment=mood) for number, mood in enumerate(moods)))
keys = jsonschema.Draft7Validator(key_schema())
for key, value in changes:
    keys.validate(json.loads(key))
    scope = json.loads(key)[0]
    jsonschema.Draft7Validator(totals_schema(scope)).validate(json.loads(value))
differences = audit(log, changes)
bad = state.apply(99, b'[%b]' % event(9, sentiment="meh", v=1))
rules = '[[milestone]]\\nname="s"\\nscope="sentiment"\\nmetric="like"\\nthresholds=[1]\\n'
only = decide(rules + 'match = { sentiments = ["neg*"] }', changes)
number = state.counters.number(("sentiment", "positive", "like"))
print(json.dumps({
    "totals": as_json(view, AliasTable())["sentiments"],
    "last_ms": view.last_ms(("sentiment", "negative")),
    "log": sorted(event_schema("interaction", "log")["properties"]["sentiment"]["enum"]),
    "rejected": len(bad),
    "differences": differences,
    "rolling": state.windows.sums["24h"].get(number, 0),
    "alerts": [[each.text, each.occurred_at] for each in only],
}))
"""
)


RECOUNT = "services/audit/recounting/sql/recount.sql"


def recount_by(tree: Tree, field: str) -> None:
    """The audit counts the field of interactions by code of its own, in one file."""
    tree.edit(RECOUNT, "vip, metric, value, phase\n", f"vip, metric, value, phase, {field}\n")
    tree.edit(RECOUNT, "    vip, post_id, sum(quantity)", f"    vip, post_id, {field}, sum(quantity)")
    last = "where kind = 'interaction' and post_id is not null;"
    row = f"select *, '{field}', {field}, '' from query_table(events) where {field} is not null"  # noqa: S608 - a test's own name
    tree.edit(RECOUNT, last, f"{last[:-1]}\n    union all\n    {row};")


@pytest.mark.parametrize("rolling", [False, True])
def test_a_field_and_a_row_count_it_everywhere(tmp_path: Path, *, rolling: bool) -> None:
    """Ingest takes it, the log's decoder checks it, totals and alert rules have it; rolling counts if the row
    says so; and a recount by the audit agrees."""
    tree = Tree(tmp_path)
    sentiment = '    sentiment: Literal["positive", "neutral", "negative"] | None = None\n'
    tree.edit("schemas/events.py", FIELD, FIELD.replace("\n\n\n", f"\n{sentiment}\n\n"))
    tree.edit("schemas/dimensions.py", ")\n\n#: From the widest", ROW % (rolling, rolling))
    recount_by(tree, "sentiment")
    found = tree.run(SCRIPT)
    assert found["totals"] == [
        {"sentiment": "negative", "action": "like", "total": 1, "net": 1},
        {"sentiment": "positive", "action": "like", "total": 3, "net": 3},
    ]
    assert found["last_ms"] == 1_782_120_602_000
    assert found["log"] == ["negative", "neutral", "positive"]
    assert found["rejected"] == 1
    assert found["differences"] == []
    assert found["rolling"] == (3 if rolling else 0)
    assert found["alerts"] == [
        ["Sentiment negative reached 1 like at 22 Jun 2026 09:30 UTC", 1_782_120_602_000]
    ]
    assert tree.edited == {"schemas/events.py", "schemas/dimensions.py", RECOUNT}


def test_a_field_of_an_actor_counts_too(tmp_path: Path) -> None:
    """Free text of an actor: the same files, and the names of a stream are learned like others."""
    tree = Tree(tmp_path)
    tree.edit(
        "schemas/events.py",
        '    country: Country | None = Field(None, description="ISO 3166-1 alpha-2")\n',
        '    country: Country | None = Field(None, description="ISO 3166-1 alpha-2")\n'
        "    city: Text | None = None\n",
    )
    row = (ROW % (False, False)).replace('"sentiment", match="sentiments"', '"city", field="actor.city"')
    row = row.replace("sentiment", "city").replace("Sentiments", "Cities")
    tree.edit("schemas/dimensions.py", ")\n\n#: From the widest", row)
    script = (
        COUNT
        + AUDIT
        + """
from fanpulse.cli.totals import as_json
cities = ["Lanzhou", "Tianshui", "Lanzhou", "Lanzhou"]
events = (event(number, actor={"id": "7", "city": city}) for number, city in enumerate(cities))
state, changes, view = count(*events)
print(json.dumps([as_json(view, AliasTable())["cities"], audit(log, changes)]))
"""
    )
    recount_by(tree, "city")
    counted, differences = tree.run(script)
    assert counted == [
        {"city": "Lanzhou", "action": "like", "total": 3, "net": 3},
        {"city": "Tianshui", "action": "like", "total": 1, "net": 1},
    ]
    assert differences == []


def test_a_post_does_not_feed_what_is_for_interactions(tmp_path: Path) -> None:
    """Also where a post has every field that the row names."""
    tree = Tree(tmp_path)
    row = (ROW % (False, False)).replace('"sentiment", match="sentiments"', '"platform", match="platforms"')
    row = row.replace('scope="sentiment"', 'scope="site"').replace("{sentiment}", "{platform}")
    tree.edit("schemas/dimensions.py", ")\n\n#: From the widest", row)
    script = (
        COUNT
        + """
post = event(1, kind="post", post_id="p1").replace(b'"action": "like"', b'"campaign": null')
for events in ((event(0), post), (post, event(0))):
    _, _, view = count(*events)
    assert view.actions(("account", "twitter", "GansuTravel")) == {"like": 1, "post": 1}
    assert view.actions(("site", "twitter")) == {"like": 1}, view.actions(("site", "twitter"))
print("null")
"""
    )
    assert tree.run(script) is None
