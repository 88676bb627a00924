"""The exported JSON Schemas never reject what the models accept."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from schemas.alerts import ALERT, AsOf, Contributor, Milestone, Spike, alert_id
from schemas.codec import decode_one, encode
from schemas.events import ACTIONS, Format, Metric, Phase
from schemas.export import json_schemas
from schemas.fields import EARLIEST_MS, LATEST_MS
from schemas.reasons import Rejection

VALIDATORS = {path: jsonschema.Draft7Validator(schema) for path, schema in json_schemas().items()}

# An event is rejected for its first bad field, so most fields must be good for any event to be accepted.
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
usual = st.sampled_from(["GansuTravel", "@VisitGansu", "gansu.heritage", "多彩甘肃", "a" * 200, "é"])
names = usual | usual | usual | texts
times = (
    st.integers(EARLIEST_MS, LATEST_MS - 1)
    | st.datetimes(datetime(2000, 1, 2), datetime(2099, 1, 1)).map(lambda moment: moment.isoformat() + "Z")
    | st.sampled_from(["2016-12-31T23:59:60Z", "2026-06-22 17:40:12.25+08:00", "2026-06-22t09:31:04z"])
)
hashtags = st.lists(st.sampled_from(["#GansuHeritage", "文化和自然遗产日", "＃ß", "#İ"]) | texts, max_size=6)
common = {
    "event_id": names,
    "occurred_at": times,
    "platform": st.sampled_from(["twitter", "Facebook", "insta_gram", "x y"]),
    "account": names,
}
more = {"hashtags": st.none() | hashtags, "campaign": st.none() | names, "broadcast_id": st.none() | names}
actors = st.fixed_dictionaries(
    {"id": names},
    optional={
        "country": st.sampled_from(["cn", "DE", "deu", None]),
        "verified": st.booleans(),
        "name": names,
    },
)
EVENTS = {
    "interaction": st.fixed_dictionaries(
        {"kind": st.just("interaction"), "action": st.sampled_from(ACTIONS), **common},
        optional={
            "quantity": st.integers(0, 10**9 + 1),
            "post_id": st.none() | names,
            "actor": st.none() | actors,
            "post_format": st.sampled_from([None, *get_args(Format)]),
            **more,
        },
    ),
    "post": st.fixed_dictionaries(
        {"kind": st.just("post"), "post_id": names, **common},
        optional={"language": st.sampled_from(["en", "zh-Hans", "zh_Hans"]), **more},
    ),
    "reading": st.fixed_dictionaries(
        {
            "kind": st.just("reading"),
            "metric": st.sampled_from(get_args(Metric)),
            "value": st.integers(-1, 10**15),
            **common,
        }
    ),
    "broadcast": st.fixed_dictionaries(
        {"kind": st.just("broadcast"), "phase": st.sampled_from(get_args(Phase)), **common}
        | {"broadcast_id": names},
        optional={"title": st.none() | names},
    ),
}


@given(event=st.one_of(*EVENTS.values()))
def test_what_ingest_accepts_satisfies_both_schemas(event: dict[str, Any]) -> None:
    """An accepted event satisfies its submission schema, and its form in the log the log schema."""
    kind = event["kind"]
    decoded = decode_one(json.dumps(event).encode())
    if isinstance(decoded, Rejection):
        reject()  # too few accepted events fail the test
    VALIDATORS[f"json/submission/{kind}.v1.json"].validate(event)
    VALIDATORS[f"json/log/{kind}.v1.json"].validate(json.loads(encode(decoded)))


@pytest.mark.parametrize("path", sorted(VALIDATORS))
def test_each_schema_is_a_draft_7_schema_that_forbids_nothing_by_accident(path: str) -> None:
    """The file is a schema, it has a title and a description, and it says what is required."""
    schema = VALIDATORS[path].schema
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["title"]
    assert schema["description"]
    assert set(schema["required"]) <= set(schema["properties"])
    assert "$ref" not in json.dumps(schema), "a file stands for itself"


def test_milestones_and_spikes_satisfy_their_schemas() -> None:
    """Alerts as the alerts service writes them satisfy the exported schemas and read back as they were."""
    shared: dict[str, Any] = {
        "id": alert_id("milestone", "account", "twitter", "GansuTravel", "like", 10_000),
        "rule": "account-likes",
        "scope": "account",
        "subject": ("twitter", "GansuTravel"),
        "metric": "like",
        "occurred_at": 1_782_120_664_000,
        "decided_at": 1_782_120_665_120,
        "top_contributors": (Contributor(name="like", count=10_003),),
        "as_of": (AsOf(partition=0, offset=4711), AsOf(partition=1, offset=-1)),
        "text": "GansuTravel on twitter has passed 10,000 likes",
    }
    spike = {"number": 1, "observed": 912, "baseline": 0.0, "window_minutes": 30, "factor": None}
    for alert in (Milestone(**shared, threshold=10_000, total=10_003), Spike(**shared, **spike)):
        document = json.loads(alert.model_dump_json())
        VALIDATORS[f"json/alert/{alert.kind}.v1.json"].validate(document)
        assert ALERT.validate_python(document) == alert
