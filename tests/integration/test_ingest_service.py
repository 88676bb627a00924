"""The ingest service as a process: what it acknowledged survives whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from fanpulse.devstack.kafka import EmbeddedKafka
from schemas.topics import EVENTS, POSTS, REJECTED, Topic, qualified
from services.runtime.kafka import create_topics
from services.runtime.settings import KafkaSettings, Settings
from services.runtime.topic_scan import read_topic
from services.runtime.topic_states import TopicAdmin
from tests.support.ports import free_port
from tests.support.posting import Posters, interaction, post
from tests.support.processes import Service, eventually

POST = {
    "kind": "post", "platform": "twitter", "account": "GansuTravel", "post_id": "P", "format": "live",
    "hashtags": ["#伏羲大典"], "campaign": "fuxi-ceremony-2026", "broadcast_id": "fuxi-2026",
    "occurred_at": 1_782_120_600_000, "event_id": "post-P",
}  # fmt: skip


@contextmanager
def ingest(settings: Settings, folder: Path, **variables: str) -> Iterator[tuple[Service, int]]:
    port = free_port()
    with Service("ingest", settings, folder / f"ingest-{port}.log", port, **variables) as service:
        yield service.wait_ready(), port


def figure(service: Service, name: str) -> float:
    samples = service.metrics().items()
    return sum(value for key, value in samples if key.partition("{")[0] == f"fanpulse_ingest_{name}")


def log(settings: Settings, topic: Topic = EVENTS) -> list[Any]:
    """The entries of a topic; a record that is an array counts as its members."""
    records = asyncio.run(read_topic(settings, qualified(settings.namespace, topic.name)))
    values = [json.loads(record.value) for record in records if record.value is not None]
    return [entry for value in values for entry in (value if isinstance(value, list) else [value])]


def ids(entries: list[Any]) -> Counter[str]:
    return Counter(entry["event_id"] for entry in entries if "event_id" in entry)


def test_what_is_known_of_posts_survives_a_restart_and_is_shared(settings: Settings, tmp_path: Path) -> None:
    """A killed process's successor completes interactions, and so does a process that ran beside it."""
    with ingest(settings, tmp_path) as (beside, beside_port):
        with ingest(settings, tmp_path) as (first, port):
            assert post(port, [POST, interaction("same", post_id="P")])[1]["accepted"] == 2
            first.kill()
        with ingest(settings, tmp_path) as (_, port):
            post(port, interaction("after", post_id="P"))
        eventually(lambda: figure(beside, "known_posts") == 1, 20, "the other one knows it")
        post(beside_port, interaction("beside", post_id="P"))
    found = {entry["event_id"]: entry for entry in log(settings) if "event_id" in entry}
    filled = {
        "hashtags": ["伏羲大典"], "campaign": "fuxi-ceremony-2026", "broadcast_id": "fuxi-2026",
        "post_format": "live",
    }  # fmt: skip
    for name in ("same", "after", "beside"):
        assert filled.items() <= found[name].items(), name
    assert len(log(settings, POSTS)) == 1


def test_the_actor_key_is_made_once(settings: Settings, tmp_path: Path) -> None:
    """After a restart the same actor has the same pseudonym; the key is for the owner's eyes only."""
    for time_slice in range(2):
        with ingest(settings, tmp_path) as (service, port):
            post(port, interaction(f"i{time_slice}", actor={"id": "77"}))
            assert service.stop() == 0
    pseudonyms = {entry["actor"]["id"] for entry in log(settings) if "actor" in entry}
    assert len(pseudonyms) == 1
    assert (settings.state_dir / "actor.key").stat().st_mode & 0o777 == 0o600


def test_every_acknowledged_event_survives_kill_9(settings: Settings, tmp_path: Path) -> None:
    """Killed under load, three times: all that was answered 202 is in the log once, and nothing unsent is."""
    sent: set[str] = set()
    acknowledged: set[str] = set()
    for time_slice in range(3):
        with ingest(settings, tmp_path) as (service, port), Posters(port, clients=8, batch=20) as posters:
            eventually(lambda posters=posters: len(posters.acknowledged) > 2000, 60, "2,000 acknowledged")  # type: ignore[misc]
            service.kill()
        sent |= {f"{time_slice}/{each}" for each in posters.sent}
        acknowledged |= {f"{time_slice}/{each}" for each in posters.acknowledged}
    found = ids(log(settings))
    # Each turn sends the same ids again, so an id is there as often as turns sent it.
    for name, count in found.items():
        assert count <= sum(f"{time_slice}/{name}" in sent for time_slice in range(3)), name
    missing = [
        name
        for name in {each.partition("/")[2] for each in acknowledged}
        if found[name] < sum(f"{time_slice}/{name}" in acknowledged for time_slice in range(3))
    ]
    assert not missing


def test_sigterm_finishes_what_was_begun(settings: Settings, tmp_path: Path) -> None:
    """Under load it ends with 0; the log has every acknowledged event, and a clock record after the last."""
    with ingest(settings, tmp_path) as (service, port), Posters(port, clients=8, batch=20) as posters:
        eventually(lambda: len(posters.acknowledged) > 2000, 60, "2,000 acknowledged")
        assert service.stop() == 0
    found = ids(log(settings))
    assert posters.acknowledged <= set(found)
    assert max(found.values()) == 1
    records = asyncio.run(read_topic(settings, qualified(settings.namespace, EVENTS.name)))
    last = {record.partition: json.loads(record.value or b"")[-1] for record in records}
    assert {entry["kind"] for entry in last.values()} == {"clock"}
    assert len({entry["stream_time"] for entry in last.values()}) == 1
    assert set(posters.statuses) <= {202, 503}


def test_the_event_clock_follows_the_newest_accepted_event(settings: Settings, tmp_path: Path) -> None:
    """Nothing is written before the first event; one far ahead is rejected and moves nothing."""
    variables = {"FANPULSE_INGEST_CLOCK": "event", "FANPULSE_INGEST_CLOCK_INTERVAL_MS": "50"}
    base = 1_782_120_600_000
    with ingest(settings, tmp_path, **variables) as (service, port):
        assert post(port, interaction("a", occurred_at=base))[0] == 202
        status, answer, _ = post(port, interaction("b", occurred_at=base + 3_600_000))
        assert (status, answer["rejected"][0]["reason"]) == (422, "ahead_of_clock")
        assert post(port, interaction("c", occurred_at=base + 60_000))[0] == 202
        assert post(port, interaction("d", occurred_at=base - 60_000))[0] == 202
        assert service.stop() == 0
    with ingest(settings, tmp_path, **variables) as (_, port):
        # Started again it goes on from the log, so that a late event does not set stream time back.
        assert post(port, interaction("late", occurred_at=base - 600_000))[0] == 202
        assert post(port, interaction("next", occurred_at=base + 50_000))[0] == 202
    clocks = [entry for entry in log(settings) if entry["kind"] == "clock"]
    assert {entry["source"] for entry in clocks} == {"event"}
    assert {entry["stream_time"] for entry in clocks} <= {base, base + 60_000}
    assert Counter(entry["stream_time"] for entry in clocks)[base + 60_000] >= 4


def keys_of(path: Path, **scopes: str) -> None:
    """Write a keys file beside the old one and rename it; each key is the name of its client."""
    new = path.with_suffix(".new")
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in scopes}
    new.write_text(
        "".join(f'[[key]]\nname = "{name}"\nsha256 = "{digests[name]}"\n{scopes[name]}\n' for name in scopes)
    )
    new.replace(path)


def test_keys_are_rotated_while_ingest_runs(settings: Settings, tmp_path: Path) -> None:
    """Each key writes within its scope; a removed one opens nothing, and a wrong file changes nothing."""
    path = tmp_path / "keys.toml"
    keys_of(path, poller="", studio='accounts = ["twitter:Gansu*"]\nmax_quantity = 1')
    variables = {"FANPULSE_INGEST_KEYS_FILE": str(path), "FANPULSE_OWN_ACCOUNTS": '["twitter:GansuTravel"]'}
    with ingest(settings, tmp_path, **variables) as (service, port):
        assert post(port, interaction("none"))[0] == 401
        assert post(port, interaction("a"), x_api_key="studio")[0] == 202
        assert post(port, interaction("b", quantity=2), x_api_key="studio")[0] == 422
        assert post(port, interaction("c", quantity=2), x_api_key="poller")[0] == 202
        assert post(port, interaction("d", account="GansuInvented"), x_api_key="poller")[0] == 422
        keys_of(path, poller="", desk="")
        eventually(lambda: post(port, interaction("e"), x_api_key="desk")[0] == 202, 30, "the new key")
        assert post(port, interaction("f"), x_api_key="studio")[0] == 401
        path.write_text("[[key]]")
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: figure(service, "keys_file_unusable") == 1, 30, "the wrong file noticed")
        assert post(port, interaction("g"), x_api_key="desk")[0] == 202
        assert service.stop() == 0
    assert set(ids(log(settings))) == {"a", "c", "e", "g"}
    rejected = [each for each in log(settings, REJECTED) if "raw" in each]
    assert [each["source"] for each in rejected] == ["studio/http", "poller/http"]
    lines = service.log.read_text().splitlines()
    assert sum("keys_file_unusable" in line for line in lines) == 1


def halt(broker: EmbeddedKafka, how: str) -> None:
    if how == "frozen":
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
    else:
        asyncio.run(broker.kill())


def resume(broker: EmbeddedKafka, how: str) -> None:
    if how == "killed":
        asyncio.run(broker.start())
    elif broker.pid is not None:
        os.kill(broker.pid, signal.SIGCONT)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_while_the_broker_is_away_memory_is_bounded_and_nothing_acknowledged_is_lost(
    tmp_path: Path, how: str
) -> None:
    """Stopped or killed, and clients push on: they are answered 503 with Retry-After. Once it runs again, all
    that was answered 202 is in the log once, and nothing is that was not sent.
    """
    broker = EmbeddedKafka(tmp_path / "kafka")
    asyncio.run(broker.start())
    settings = Settings(
        namespace="stall", state_dir=tmp_path / "state", kafka=KafkaSettings(bootstrap=broker.bootstrap)
    )
    asyncio.run(create_topics(settings))
    # It stays ready, so that clients can fill the room there is.
    limits = {"FANPULSE_INGEST_ACK_TIMEOUT_SECONDS": "2", "FANPULSE_KAFKA_READY_SECONDS": "600"}
    try:
        with ingest(settings, tmp_path, **limits) as (service, port):
            memory = psutil.Process(service.process.pid).memory_info
            with Posters(port, clients=40, batch=600, padding=190) as posters:
                eventually(lambda: len(posters.acknowledged) > 8000, 60, "8,000 acknowledged")
                halt(broker, how)
                eventually(
                    lambda: figure(service, "pending_bytes") > 55 * 2**20, 90, "the byte limit is reached"
                )
                full = posters.statuses[503]
                eventually(lambda: posters.statuses[503] > full + 100, 60, "100 more answers 503")
                assert figure(service, "pending_bytes") <= 64 * 2**20
                assert memory().rss < 300 * 2**20, f"{memory().rss / 2**20:.0f} MB"
                resume(broker, how)
                before = len(posters.acknowledged)
                eventually(lambda: len(posters.acknowledged) > before + 20_000, 60, "it goes on")
            eventually(lambda: figure(service, "pending_bytes") == 0, 30, "all is written")
            assert service.stop() == 0
        assert None not in posters.retry_after
        found = ids(log(settings))
        assert posters.acknowledged <= set(found)
        assert set(found) <= posters.sent
        assert max(found.values()) == 1
    finally:
        resume(broker, how)
        asyncio.run(broker.stop())


def test_it_ends_although_the_broker_stands_still(tmp_path: Path) -> None:
    """What waits was promised to nobody; the end comes in bounded time, while it runs and while it starts."""
    broker = EmbeddedKafka(tmp_path / "kafka")
    asyncio.run(broker.start())
    settings = Settings(state_dir=tmp_path / "state", kafka=KafkaSettings(bootstrap=broker.bootstrap))
    try:
        with ingest(settings, tmp_path) as (service, port):
            assert post(port, interaction("first"))[0] == 202
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGSTOP)
            with Posters(port, clients=2, batch=1):
                eventually(lambda: figure(service, "pending_bytes") > 0, 20, "something waits")
                assert service.stop(40) == 0
        starting = Service("ingest", settings, tmp_path / "starting.log", free_port())
        with starting:
            eventually(lambda: healthy(starting), 30, "alive, not ready")
            assert starting.stop(40) == 0
    finally:
        if broker.pid is not None:
            os.kill(broker.pid, signal.SIGCONT)
        asyncio.run(broker.stop())


def healthy(service: Service) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{service.url}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def test_without_a_broker_it_ends_with_one_line(tmp_path: Path) -> None:
    """Somebody starts it again; the line says which address was tried."""
    address = f"127.0.0.1:{free_port()}"
    settings = Settings(state_dir=tmp_path / "state", kafka=KafkaSettings(bootstrap=address))
    with Service("ingest", settings, tmp_path / "log", free_port()) as service:
        assert service.process.wait(60) != 0
    text = service.log.read_text()
    assert address in text
    assert "Traceback" not in text


def test_connections_that_say_nothing_are_closed(settings: Settings, tmp_path: Path) -> None:
    """Silent ones, half heads and half bodies alike; a good request is answered meanwhile."""
    heads = {
        b"": b"",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-": b"",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[": b"HTTP/1.1 408",
    }
    with ingest(settings, tmp_path, FANPULSE_INGEST_READ_TIMEOUT_SECONDS="1") as (_, port):
        sockets = {head: socket.create_connection(("127.0.0.1", port), timeout=20) for head in heads}
        for head, connection in sockets.items():
            connection.sendall(head)
        assert post(port, interaction("meanwhile"))[0] == 202
        for head, connection in sockets.items():
            with connection:
                answer = b""
                while chunk := connection.recv(65536):
                    answer += chunk
            assert answer.startswith(heads[head])


def test_a_rejected_upload_still_gets_its_answer(settings: Settings, tmp_path: Path) -> None:
    """The client that goes on sending reads 413, not a broken connection, and can go on with the next."""
    with ingest(settings, tmp_path) as (_, port), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(20)
        size = 9 * 2**20
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        connection.sendall(bytes(size))
        assert connection.recv(12) == b"HTTP/1.1 413"
        while connection.recv(65536)[-1:] != b"}":
            pass
        body = json.dumps(interaction("next")).encode()
        connection.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert connection.recv(12) == b"HTTP/1.1 202"


def test_it_does_not_start_without_a_key_on_a_public_address(settings: Settings, tmp_path: Path) -> None:
    """It ends at once, with one line that says what to change."""
    with Service(
        "ingest", settings, tmp_path / "log", free_port(), FANPULSE_INGEST_HOST="0.0.0.0"
    ) as service:
        assert service.process.wait(30) != 0
    assert "FANPULSE_INGEST_API_KEY_HASHES" in service.log.read_text()


def configure(settings: Settings, topic: Topic, key: str, value: str) -> None:
    """Somebody changes a topic."""
    asyncio.run(TopicAdmin(settings).configure(qualified(settings.namespace, topic.name), {key: value}))


def test_a_lost_producer_ends_the_process(settings: Settings, tmp_path: Path) -> None:
    """The broker rejects a batch for good: the request is answered 503, and the process ends in error."""
    with ingest(settings, tmp_path, FANPULSE_INGEST_CLOCK="event") as (service, port):
        configure(settings, EVENTS, "cleanup.policy", "compact")  # it takes no record without a key

        def lost() -> bool:
            status, answer, headers = post(port, interaction("a"))
            if status == 503:
                assert headers["retry-after"] == "5"
                assert "same event_id" in answer["detail"]
            return status == 503

        eventually(lost, 30, "the broker has the new setting")
        assert service.process.wait(30) != 0
    assert "producer_failed" in service.log.read_text()


def test_an_event_that_is_too_large_for_the_topic_hurts_nobody_else(
    settings: Settings, tmp_path: Path
) -> None:
    """Somebody sets max.message.bytes below an event while ingest runs: 413 names the setting, requests with
    small events are answered 202, however many events they have, and it starts on it no more."""
    draw = random.Random(1)

    def padded(event_id: str, tags: int) -> dict[str, Any]:
        words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=60)) for _ in range(tags)]
        return interaction(event_id, hashtags=words)

    with ingest(settings, tmp_path) as (service, port):
        configure(settings, EVENTS, "max.message.bytes", "1000")
        large = padded("large", 30)
        eventually(lambda: post(port, large)[0] == 413, 30, "the broker has the new setting")
        assert "max.message.bytes" in post(port, large)[1]["detail"]
        status, answer, _ = post(port, [padded(f"many-{n}", 1) for n in range(300)])
        assert (status, answer["accepted"]) == (202, 300)
        assert post(port, interaction("small"))[0] == 202
        assert figure(service, "oversize_records_total") >= 2
        assert service.stop() == 0
    found = ids(log(settings))
    assert {name for name in found if name != "large"} == {"small", *(f"many-{n}" for n in range(300))}
    assert max(found.values()) == 1
    with Service("ingest", settings, tmp_path / "again.log", free_port()) as again:
        assert again.process.wait(60) == 1
    last = again.log.read_text().splitlines()[-1]
    assert "max.message.bytes=1000" in last
    assert "fanpulse stream mend" in last
