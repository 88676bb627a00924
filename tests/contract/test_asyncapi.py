"""schemas/asyncapi.yaml describes the topics that the services really make and use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.export import HERE
from schemas.topics import TOPICS, Topic

DOCUMENT: dict[str, Any] = yaml.safe_load((HERE / "asyncapi.yaml").read_text("utf-8"))


def resolve(reference: str) -> Any:
    """The target of a reference within the document. Raises KeyError if there is none."""
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def references(node: Any) -> list[str]:
    """Every $ref of the document."""
    if isinstance(node, list):
        return [found for member in node for found in references(member)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if "$ref" in node else []
    return own + [found for member in node.values() for found in references(member)]


def test_it_has_the_form_of_an_asyncapi_3_document() -> None:
    """Version, names and references are as AsyncAPI 3.0.0 wants them."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"]["title"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", DOCUMENT["info"]["version"])
    identifier = re.compile(r"^[A-Za-z0-9_-]+$")
    for section in ("channels", "operations", "servers"):
        assert [name for name in DOCUMENT[section] if not identifier.match(name)] == []
        assert DOCUMENT[section]
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert operation["channel"]["$ref"].startswith("#/channels/")
    for channel in DOCUMENT["channels"].values():
        for message in channel["messages"].values():
            assert message["$ref"].startswith("#/components/messages/")


def test_every_reference_has_a_target() -> None:
    """Within the document, or to a file beside it."""
    found = references(DOCUMENT)
    assert found
    for reference in found:
        if reference.startswith("#/"):
            assert resolve(reference)
        else:
            assert (HERE / reference).is_file(), reference


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_each_topic_is_a_channel_with_its_settings_messages_writers_and_readers(topic: Topic) -> None:
    """The channel says what schemas.topics says, and no record of the topic is undescribed."""
    [channel] = [each for each in DOCUMENT["channels"].values() if each["address"] == topic.name]
    kafka = channel["bindings"]["kafka"]
    assert kafka.get("partitions") == topic.partitions
    assert kafka["topicConfiguration"]["cleanup.policy"] == ["compact" if topic.compacted else "delete"]
    assert kafka["topicConfiguration"]["retention.ms"] == topic.retention_ms
    assert channel["messages"]
    operations = [
        each for each in DOCUMENT["operations"].values() if resolve(each["channel"]["$ref"]) is channel
    ]
    writers = [each["title"].split()[0] for each in operations if each["action"] == "send"]
    readers = [each["title"].split()[0] for each in operations if each["action"] == "receive"]
    assert writers == list(topic.producers)
    assert readers == list(topic.consumers)


def test_every_schema_file_is_used_or_is_for_clients() -> None:
    """A channel uses each schema of a record, and none of those that are for clients alone."""
    used = {reference for reference in references(DOCUMENT) if not reference.startswith("#/")}
    files = {str(path.relative_to(HERE)) for path in Path(HERE / "json").glob("**/*.json")}
    assert used == {path for path in files if not path.startswith("json/submission/")}
