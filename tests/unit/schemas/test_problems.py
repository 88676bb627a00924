"""What is wrong is said in the words of the one who wrote it, never in those of a validator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from annotated_types import BaseMetadata
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ErrorType

from schemas.problems import FORMS, meant, one_of, words
from schemas.reasons import Rejection
from schemas.validation import validate
from services.alerts.deciding.rules import MilestoneRule, SpikeRule
from services.ingest.pipeline.keys import Key
from services.runtime.settings import Settings

INVALID = sorted((Path(__file__).parents[3] / "schemas" / "examples" / "invalid").rglob("*.json*"))
FOREIGN = re.compile(
    r"Input should|Field required|Value error|Extra inputs|valid (string|integer)|\[type=|greater than or"
)


#: Whatever a problem may have in its context.
CONTEXT = {
    **dict.fromkeys(("ge", "gt", "le", "lt", "min_length", "max_length"), 2),
    **dict.fromkeys(("pattern", "expected", "error"), "'a', 'b'"),
}


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_no_problem_has_the_words_of_a_library(kind: str) -> None:
    """Whatever a library may find, also in a later version: it has our words, or a neutral phrase."""
    said = words({"type": kind, "ctx": CONTEXT, "input": 1, "msg": "Input should be x"})
    assert said
    assert FOREIGN.search(said) is None


@pytest.mark.parametrize("file", INVALID, ids=lambda each: each.stem)
def test_an_answer_to_a_client_has_our_words(file: Path) -> None:
    """Each example of an invalid event is answered in words of the contract."""
    found = validate(file.read_bytes().strip())
    if isinstance(found, Rejection):
        assert found.detail
        assert FOREIGN.search(found.detail) is None


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        (b'{"kind":"interaction","acount":"a"}', "is missing"),
        (
            b'{"kind":"interaction","event_id":"e","occurred_at":1781000000000,"platform":"x","account":"a",'
            b'"action":"likes"}',
            "; did you mean like?",
        ),
        (
            b'{"kind":"interaction","event_id":"e","occurred_at":1781000000000,"platform":"x","account":"a",'
            b'"action":"like","quantitiy":2}',
            "is not a known field; did you mean quantity?",
        ),
        (
            b'{"kind":"interaction","event_id":"e","occurred_at":1781000000000,"platform":"x","account":"a",'
            b'"action":"like","quantity":0}',
            "must be at least 1",
        ),
        (
            b'{"kind":"interaction","event_id":"e","occurred_at":1781000000000,"platform":"x","account":"a",'
            b'"action":"like","actor":{"nmae":"x","id":"u"}}',
            "is not a known field; did you mean name?",
        ),
    ],
)
def test_a_client_learns_what_is_allowed(event: bytes, detail: str) -> None:
    """The detail names the bound, or what was probably meant."""
    found = validate(event)
    assert isinstance(found, Rejection)
    assert found.detail.endswith(detail)


def _patterns(model: type[BaseModel]) -> list[str]:
    found = []
    for field in model.model_fields.values():
        found += [pattern for each in field.metadata if (pattern := _pattern(each))]
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _patterns(field.annotation)
    return found


def _pattern(metadata: BaseMetadata | FieldInfo | Any) -> str | None:
    return getattr(metadata, "pattern", None)


@pytest.mark.parametrize("model", [Settings, MilestoneRule, SpikeRule, Key])
def test_every_form_has_words(model: type[BaseModel]) -> None:
    """A regular expression is never what a person is told."""
    found = _patterns(model)
    assert [pattern for pattern in found if pattern not in FORMS] == []
    assert found != [] or model is not Settings


def test_a_name_is_only_suggested_if_it_is_close() -> None:
    """A wrong suggestion is worse than none."""
    assert meant("likes", ["like", "share"]) == "; did you mean like?"
    assert meant("telegram", ["like", "share"]) == ""
    assert one_of(["a"], 3) == "must be a"
