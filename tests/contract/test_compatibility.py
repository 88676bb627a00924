"""Which changes of a schema break those who use its version, and that the build says so."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from schemas import export
from schemas.compatibility import UnknownKeywordError, incompatible_changes
from schemas.json_schema import event_schema

INTERACTION = event_schema("interaction", "submission")


def changed(path: str, **keywords: Any) -> dict[str, Any]:
    """The interaction schema with keywords at one dotted path set, or removed where they are None."""
    schema = copy.deepcopy(INTERACTION)
    node = schema
    for part in filter(None, path.split(".")):
        node = node[int(part)] if isinstance(node, list) else node[part]  # type: ignore[assignment]
    for name, value in keywords.items():
        if value is None:
            node.pop(name)
        else:
            node[name] = value
    return schema


BREAKING = {
    "a field is removed": (changed("properties", post_id=None), "post_id: field removed"),
    "an optional field is required": (
        changed("", required=[*INTERACTION["required"], "campaign"]),
        "campaign: required now",
    ),
    "a required field is added": (
        changed("properties", region={"type": "string"}) | {"required": [*INTERACTION["required"], "region"]},
        "region: required now",
    ),
    "a value is taken off a list": (
        changed("properties.action", enum=INTERACTION["properties"]["action"]["enum"][1:]),
        "action: no longer allows ['like']",
    ),
    "a free text becomes a list": (
        changed("properties.event_id", enum=["a"]),
        "event_id: any value was allowed, now only ['a']",
    ),
    "a maximum is lowered": (
        changed("properties.quantity", maximum=1000),
        "quantity: maximum was 1000000000, is 1000",
    ),
    "a minimum is raised": (changed("properties.quantity", minimum=2), "quantity: minimum was 1, is 2"),
    "a length is cut": (changed("properties.event_id", maxLength=64), "event_id: maxLength was 200, is 64"),
    "a list gets shorter": (
        changed("properties.hashtags.anyOf.0", maxItems=10),
        "hashtags: maxItems was 50, is 10",
    ),
    "a pattern is added": (
        changed("properties.hashtags.anyOf.0.items", pattern="^#"),
        "hashtags[]: pattern was not set, is ^#",
    ),
    "members must be distinct": (
        changed("properties.hashtags.anyOf.0", uniqueItems=True),
        "hashtags: members must be distinct now",
    ),
    "a type changes": (
        changed("properties.event_id", type="integer"),
        "event_id: type was string, is integer",
    ),
    "one of two types is taken away": (
        changed("properties.occurred_at", anyOf=INTERACTION["properties"]["occurred_at"]["anyOf"][1:]),
        "occurred_at: type was string, is integer",
    ),
    "null is taken away": (
        changed("properties.campaign", anyOf=INTERACTION["properties"]["campaign"]["anyOf"][:1]),
        "campaign: type was null, is string",
    ),
    "a nested field is removed": (
        changed("properties.actor.anyOf.0.properties", name=None),
        "actor.name: field removed",
    ),
}
COMPATIBLE = {
    "nothing": INTERACTION,
    "an optional field is added": changed("properties", region={"type": "string"}),
    "a value is added": changed(
        "properties.action", enum=[*INTERACTION["properties"]["action"]["enum"], "pin"]
    ),
    "limits are widened": changed("properties.quantity", minimum=0, maximum=10**12),
    "a length is widened": changed("properties.event_id", maxLength=400),
    "a number may be a fraction": changed("properties.quantity", type="number"),
    "a field is no longer required": changed("", required=INTERACTION["required"][:-1]),
    "null is allowed too": changed(
        "properties.action", anyOf=[{"type": "string"}, {"type": "null"}], type=None, enum=None
    ),
    "a pattern is dropped": changed("properties.event_id", pattern=None),
    "a description is improved": changed("properties.event_id", description="better words"),
    "unknown fields pass": changed("", additionalProperties=True),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_named(name: str) -> None:
    """What a valid document could have before, and no longer can, is named with its path."""
    schema, expected = BREAKING[name]
    assert incompatible_changes(INTERACTION, schema) == [expected]


@pytest.mark.parametrize("name", COMPATIBLE)
def test_a_compatible_change_passes(name: str) -> None:
    """Adding and widening harm nobody."""
    assert incompatible_changes(INTERACTION, COMPATIBLE[name]) == []


def test_a_keyword_that_is_not_understood_is_no_silent_pass() -> None:
    """A schema with `not` or `if` cannot be compared, and that is an error and not a yes."""
    with pytest.raises(UnknownKeywordError, match="not"):
        incompatible_changes(INTERACTION, changed("", **{"not": {"required": ["v"]}}))


def test_the_exported_files_are_what_the_models_say() -> None:
    """schemas/json and asyncapi.yaml are generated and committed; run `python -m schemas.export`."""
    assert export.stale_files() == []


def test_everything_released_is_still_accepted() -> None:
    """Within a version the schemas of today accept all that the released ones accept."""
    assert export.broken_promises() == []
    released = {path.name for path in (export.HERE / "released" / "submission").glob("*.json")}
    assert released == {f"{kind}.v1.json" for kind in ("interaction", "post", "reading", "broadcast")}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exporter that works in a folder of the test, with everything written and released."""
    monkeypatch.setattr(export, "HERE", tmp_path)
    assert export.main(["--release"]) == 0
    return tmp_path


def test_the_check_fails_on_a_breaking_change_without_a_new_version(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A released schema that allowed more than the model of today: exit 1, and nothing is written over."""
    assert export.main(["--check"]) == 0
    released = here / "released" / "submission" / "post.v1.json"
    schema = json.loads(released.read_text())
    schema["properties"]["summary"] = {"type": "string"}
    released.write_text(json.dumps(schema))
    for arguments in (["--check"], [], ["--release"]):
        assert export.main(arguments) == 1
        lines = capsys.readouterr().out.splitlines()
        assert [line.partition(";")[0] for line in lines if "field removed" in line] == [
            "json/submission/post.v1.json: summary: field removed"
        ]
    assert "summary" in released.read_text()


def test_a_new_version_may_break_with_the_old_one(here: Path) -> None:
    """A schema that is gone is an error, unless a newer version of it is there."""
    gone = here / "released" / "submission" / "story.v1.json"
    gone.write_text("{}")
    assert export.broken_promises() == [
        "json/submission/story.v1.json: was released and is gone, without a newer version"
    ]
    gone.rename(gone.with_name("post.v0.json"))
    assert export.broken_promises() == []


def test_the_check_finds_stale_and_left_over_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Edited by hand, missing, or without a model: each is named, and writing puts it right."""
    (here / "json" / "log" / "post.v1.json").write_text("{}")
    (here / "json" / "log" / "clock.v1.json").unlink()
    (here / "json" / "log" / "story.v1.json").write_text("{}")
    (here / "asyncapi.yaml").write_text("asyncapi: 3.0.0\n")
    assert {path.name for path in export.stale_files()} == {
        "post.v1.json", "clock.v1.json", "story.v1.json", "asyncapi.yaml",
    }  # fmt: skip
    assert export.main([]) == 0
    assert export.main(["--check"]) == 0
