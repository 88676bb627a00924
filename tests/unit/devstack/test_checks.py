"""What `fanpulse doctor` finds, and what it advises."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path

import pytest

from fanpulse.devstack.checks import Finding, Level, broker, machine, services
from fanpulse.devstack.overview import READY, SILENT
from fanpulse.devstack.ports import Ports
from fanpulse.devstack.state import nothing_runs
from schemas.stream import TopicIdentity
from schemas.topics import TOPICS
from services.runtime.settings import IngestSettings, Settings, StackSettings
from services.runtime.topic_states import ClusterState, TopicState


def levels(findings: list[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def test_all_is_well_here(tmp_path: Path) -> None:
    """Where the tests run nothing is missing that fanpulse needs; each check that is not ok gives advice."""
    importlib.import_module("faust")  # which takes its spec away
    findings = list(machine.machine(Settings(state_dir=tmp_path), up=False))
    assert Level.FAIL not in levels(findings)
    assert all(finding.advice for finding in findings if finding.level is not Level.OK)
    assert [finding.subject for finding in findings] == [
        "python", "extras", "settings", "state folder", "disk", *MEMORY, "ports", "java", "kafka jars",
        "prometheus", "grafana",
    ]  # fmt: skip


#: Where the system says how much memory is free.
MEMORY = ["memory"] if list(machine.memory()) else []


def test_a_missing_extra_matters_if_it_runs_the_broker() -> None:
    """Without Faust the rest works; without the extra `stack` there is no broker, unless one is set."""
    without_faust = list(machine.extras(own_broker=True, find=lambda name: None if name == "faust" else name))
    assert levels(without_faust) == [Level.WARN]
    assert "[aggregate]" in without_faust[0].advice
    for own_broker, level in ((True, Level.FAIL), (False, Level.WARN)):
        found = list(machine.extras(own_broker=own_broker, find=lambda name: None if name == "jgo" else name))
        assert levels(found) == [level]


def test_a_taken_port_that_is_set_stands_in_the_way(tmp_path: Path) -> None:
    """A taken port is named with its service if it was set; one that was only chosen is replaced."""
    port = Ports(tmp_path / "x.json").choose("x")["x"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        for settings in (
            Settings(state_dir=tmp_path, ingest=IngestSettings(port=port)),
            Settings(state_dir=tmp_path, stack=StackSettings(kafka_port=port)),
        ):
            service = "ingest" if "ingest" in settings.model_fields_set else "kafka"
            finding = machine.ports(settings, up=False)
            assert (finding.level, finding.seen) == (Level.FAIL, f"taken: {port} ({service})")
        chosen = Settings(state_dir=tmp_path)
        path = tmp_path / "stack" / "default.ports.json"
        path.parent.mkdir()
        path.write_text(f'{{"ingest": {port}}}')
        finding = machine.ports(chosen, up=False)
        assert (finding.level, finding.seen) == (Level.OK, "the stack will choose another port for ingest")
        assert machine.ports(chosen, up=True).level is Level.OK


def test_a_state_folder_that_cannot_be_written_stands_in_the_way(tmp_path: Path) -> None:
    """A folder that cannot be made is named, with the setting that changes it."""
    (tmp_path / "file").touch()
    finding = machine.state_folder(tmp_path / "file" / "state")
    assert finding.level is Level.FAIL
    assert "FANPULSE_STATE_DIR" in finding.advice


def test_changed_jars_stand_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jars that are not here are fetched later; one with another content is named."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine.broker_jars().level is Level.WARN
    folder = tmp_path / "fanpulse" / "jars"
    folder.mkdir(parents=True)
    (folder / "kafka-clients-4.3.1.jar").write_bytes(b"not it")
    finding = machine.broker_jars()
    assert finding.level is Level.FAIL
    assert "kafka-clients-4.3.1.jar" in finding.seen


def test_little_room_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free on the disk is enough, little, or too little."""
    found = []
    for free in (10**10, 3 * 10**9, 10**8):
        monkeypatch.setattr(machine, "free_bytes", lambda _folder, free=free: free)
        found.append(machine.disk(tmp_path).level)
    assert found == [Level.OK, Level.WARN, Level.FAIL]


def cluster(**changes: TopicState) -> ClusterState:
    """A cluster with all topics as they should be, apart from changes by short name."""
    found = {}
    for topic in TOPICS:
        short = topic.name.split(".")[1]
        right = TopicState(f"id-{short}", topic.partitions or 4, 1, topic.broker_config())
        found[f"ns.{topic.name}"] = changes.get(short, right)
    return ClusterState("c", found)


def test_topics_are_compared_with_the_contract() -> None:
    """Missing topics are a warning; a wrong number of partitions or a wrong policy stands in the way."""
    settings = Settings(namespace="ns")
    assert levels(list(broker.topics(settings, cluster(), {}))) == [Level.OK]
    assert levels(list(broker.topics(settings, ClusterState("c", {}), {}))) == [Level.WARN]
    found = list(broker.topics(settings, cluster(events=TopicState("e", 6, 1, {})), {}))
    assert levels(found) == [Level.FAIL]
    assert "FANPULSE_KAFKA_PARTITIONS=6" in found[0].advice
    lossy = TopicState("t", 4, 1, {"cleanup.policy": "delete"})
    found = list(broker.topics(settings, cluster(totals=lossy), {}))
    assert levels(found) == [Level.FAIL]
    assert "cleanup.policy=delete" in found[0].seen
    assert "fanpulse stream mend" in found[0].advice


def test_a_stream_that_is_not_what_it_was_is_found() -> None:
    """A topic created again stands in the way; partitions that were added, and a log that is not kept for
    ever, are warnings."""
    settings = Settings(namespace="ns")
    began = {
        "engagement.events.v1": TopicIdentity(
            cluster_id="c", topic_id="id-events", partitions=4, first_offsets=(0,) * 4, founded_at=1
        )
    }
    assert levels(list(broker.topics(settings, cluster(), began))) == [Level.OK]
    found = list(broker.topics(settings, cluster(events=TopicState("other", 4, 1)), began))
    assert levels(found) == [Level.FAIL]
    assert "created again" in found[0].seen
    assert "FANPULSE_NAMESPACE" in found[0].advice
    assert levels(list(broker.topics(settings, cluster(events=TopicState("id-events", 8, 1)), began))) == [
        Level.WARN
    ]
    short = {"cleanup.policy": "delete", "retention.ms": str(40 * 86_400_000)}
    found = list(broker.topics(settings, cluster(events=TopicState("id-events", 4, 1, short)), began))
    assert levels(found) == [Level.WARN]
    assert "40 days" in found[0].seen


def test_a_broker_that_forgets_offsets_is_found() -> None:
    """A week, Kafka's default, is a warning; a broker that does not say how long gives no finding."""
    assert levels(list(broker.retention({"offsets.retention.minutes": "10080"}))) == [Level.WARN]
    assert levels(list(broker.retention({"offsets.retention.minutes": "2147483647"}))) == [Level.OK]
    assert list(broker.retention({})) == []


def test_a_service_that_is_not_ready_stands_in_the_way() -> None:
    """Each part of a stack that is up has a finding, by what it answers."""
    status = nothing_runs("", "127.0.0.1:1")
    status["ingest"] = [{"pid": 1, "url": "http://127.0.0.1:2", "health": READY}]
    status["alerts"] = [{"pid": None, "metrics": "http://127.0.0.1:3/metrics", "health": SILENT}]
    found = list(services.services(status, up=True))
    assert [(finding.subject, finding.level) for finding in found] == [
        ("ingest", Level.OK),
        ("alerts", Level.FAIL),
    ]
    assert levels(list(services.services(status, up=False))) == [Level.OK]
