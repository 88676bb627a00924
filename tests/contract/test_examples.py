"""The examples of schemas/examples are what they claim to be, for every reader of the contract."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

import schemas
from schemas.codec import decode_one, encode
from schemas.events import ACTIONS, MODELS, SUBMISSION, Format, Metric, Phase
from schemas.export import json_schemas
from schemas.reasons import Reason, Rejection
from schemas.validation import validate

EXAMPLES = Path(schemas.__file__).parent / "examples"
VALID = sorted((EXAMPLES / "valid").glob("*.json"))
INVALID = sorted((EXAMPLES / "invalid").glob("*.json"))
SCHEMAS = json_schemas()
#: Decided by ingest with what it knows besides the event: stream time, record size, and who may write what.
DECIDED_ELSEWHERE = {Reason.AHEAD_OF_CLOCK, Reason.TOO_LARGE, Reason.NOT_ALLOWED}


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def raw_of(wrapper: dict[str, Any]) -> bytes:
    """The bytes that a client would send: given as JSON, as text where it is not JSON, or in base64."""
    if "raw_base64" in wrapper:
        return b64decode(wrapper["raw_base64"])
    return wrapper["raw"].encode() if "raw" in wrapper else json.dumps(wrapper["event"]).encode()


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_example_is_accepted_by_model_codec_and_schema(path: Path) -> None:
    """The pydantic model, the fast decoder and the JSON Schema agree that it is an event."""
    event = load(path)
    SUBMISSION.validate_python(event)
    assert not isinstance(decode_one(path.read_bytes()), Rejection)
    schema = SCHEMAS[f"json/submission/{event['kind']}.v1.json"]
    jsonschema.Draft7Validator(schema).validate(event)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_what_the_log_holds_of_a_valid_example_satisfies_the_log_schema(path: Path) -> None:
    """Normalised and encoded for the log it satisfies the schema of the log, and can be sent again."""
    logged = encode(decode_one(path.read_bytes()))
    event = json.loads(logged)
    schema = SCHEMAS[f"json/log/{event['kind']}.v1.json"]
    jsonschema.Draft7Validator(schema).validate(event)
    assert encode(decode_one(logged)) == logged


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_example_is_rejected_with_its_field_and_reason(path: Path) -> None:
    """The slow result and the fast decoder both name the field and the reason that the example states."""
    wrapper = load(path)
    for result in (validate(raw_of(wrapper)), decode_one(raw_of(wrapper))):
        assert isinstance(result, Rejection), result
        assert (result.field, result.reason) == (wrapper["field"], wrapper["reason"])
        assert result.detail


def test_every_kind_and_every_value_that_a_field_lists_has_a_valid_example() -> None:
    """If you look for an action, format, metric or phase, you find an event with it."""
    events = [load(path) for path in VALID]
    assert {event["kind"] for event in events} == set(MODELS)
    for field, values in {
        "action": ACTIONS,
        "format": get_args(Format),
        "metric": get_args(Metric),
        "phase": get_args(Phase),
    }.items():
        assert {event[field] for event in events if field in event} == set(values), field


def test_every_reason_has_an_invalid_example() -> None:
    """The list of reasons is closed, and each can be looked at."""
    assert {load(path)["reason"] for path in INVALID} == set(Reason) - DECIDED_ELSEWHERE


def test_an_example_is_named_after_its_kind() -> None:
    """`interaction-like.json` is an interaction; what has no kind of its own is an `event-`."""
    for path in VALID:
        assert path.stem.startswith(load(path)["kind"] + "-")
    for path in INVALID:
        assert path.stem.split("-")[0] in {*MODELS, "event", "clock", "void"}
