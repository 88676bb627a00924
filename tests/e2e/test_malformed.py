"""Two hundred and more malformed inputs: each is rejected with a reason and kept, and nothing stops."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from schemas.events import MODELS
from schemas.reasons import Reason
from schemas.topics import EVENTS, REJECTED, qualified
from services.runtime.settings import Settings
from services.runtime.topic_scan import read_topic
from tests.support.ports import free_port
from tests.support.posting import interaction, post
from tests.support.processes import Service, eventually

NOW = 1_782_120_600_000
COMMON = {"event_id": "bad", "occurred_at": NOW, "platform": "twitter", "account": "GansuTravel"}
#: A good event of each kind, with every field that it may have.
FULL: dict[str, dict[str, Any]] = {
    "interaction": {
        "kind": "interaction", "v": 1, **COMMON, "action": "like", "quantity": 2, "post_id": "p",
        "broadcast_id": "b", "hashtags": ["#a"], "campaign": "c", "post_format": "live",
        "actor": {"id": "77", "country": "CN", "verified": True, "name": "李娜"},
    },
    "post": {
        "kind": "post", "v": 1, **COMMON, "post_id": "p", "format": "video", "language": "en",
        "hashtags": ["#a"], "campaign": "c", "broadcast_id": "b",
    },
    "reading": {
        "kind": "reading", "v": 1, **COMMON, "metric": "followers", "value": 7, "post_id": "p",
        "broadcast_id": "b",
    },
    "broadcast": {
        "kind": "broadcast", "v": 1, **COMMON, "broadcast_id": "b", "phase": "started", "title": "t",
        "campaign": "c", "hashtags": ["#a"],
    },
}  # fmt: skip
TIMES = [
    "", "now", "2026-06-22", "2026-06-22T09:30:00", "2026-06-22T09:30Z", "2026-06-31T09:30:00Z",
    "2026-13-01T00:00:00Z", "2026-06-22T24:00:00Z", "2026-06-22T09:60:00Z", "2026-06-22T09:30:61Z",
    "2026-06-22T09:30:00+25:00", "2026-06-22T09:30:00+0800", "2026-W26-1T09:30:00Z", "20260622T093000Z",
    "2026-06-22T09:30:00.Z", "2026-06-22T09:30:00.1234567890Z", "1782120600000", "٢٠٢٦-06-22T09:30:00Z",
    "1999-12-31T23:59:59Z", "2098-01-01T00:00:00Z", "2100-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    0, -1, 1_782_120_600, 946_684_799_999, 4_102_444_800_000, 10**18, 2**63, 2**64, 10**400, -(10**400),
]  # fmt: skip
TEXT_FIELDS = ("event_id", "platform", "account", "post_id", "broadcast_id", "campaign")
BAD_TEXTS = ["", "x" * 201, "x" * 1_000_000, "a\u0000b", "a\nb", "\u0085", " a", "a ", "\ud800", "a\udfffb"]

RAW_IDS = {"FANPULSE_INGEST_ACTOR_IDS": "raw"}


class Case(NamedTuple):
    """A malformed input. `whole`: the whole body is not JSON. `deep`: nor is an array with it."""

    raw: bytes
    whole: bool = False
    deep: bool = False


def encoded(event: Any) -> bytes:
    return json.dumps(event).encode()


def events() -> Iterator[Any]:
    """JSON that is not an event."""
    yield from ({}, None, True, 1, -1.5, "", "event", [1], [[]], [[FULL["post"]]], [None])
    for kind, full in FULL.items():
        required = [name for name, field in MODELS[kind].model_fields.items() if field.is_required()]
        yield from ({k: v for k, v in full.items() if k != name} for name in required)
        for name, value in full.items():
            wrong: list[Any] = [[], {}, 1.5] if name not in ("hashtags", "actor") else ["text", 1]
            wrong += [5] if isinstance(value, str) else ["5"] if name not in ("hashtags", "actor") else [[5]]
            yield from ({**full, name: each} for each in wrong if not (name == "occurred_at" and each == 5))
        yield {**full, "surprise": 1}
        yield {**full, "": None}
    like = FULL["interaction"]
    yield from ({**like, "occurred_at": time} for time in TIMES)
    yield from ({**like, field: text} for field in TEXT_FIELDS for text in BAD_TEXTS)
    yield from (
        {**like, "kind": kind} for kind in ("clock", "Interaction", "like", "", "x" * 100_000, "交互")
    )
    yield from ({**like, "v": version} for version in (0, 2, -1, 10**400, True, 1.0, "1", None))
    yield from ({**like, "quantity": number} for number in (0, -1, 10**9 + 1, 10**400, 1e300, True, None))
    yield from ({**FULL["reading"], "value": number} for number in (-1, 10**15 + 1, -(10**400), 1e3, None))
    yield from ({**like, "action": action} for action in ("", "LIKE", "love", "post"))
    yield from ({**like, "account": account} for account in ("@", "@ ", "@\t"))
    yield from ({**like, "platform": platform} for platform in ("a b", "推特", "x" * 41, "a/b"))
    yield from (
        {**like, "hashtags": tags}
        for tags in (
            ["#"], ["＃"], ["a b"], [""], ["a\u0000"], ["x" * 301], ["x" * 141], ["a"] * 51, [None], [["a"]],
        )
    )  # fmt: skip
    yield from (
        {**like, "actor": actor}
        for actor in (
            {}, {"id": None}, {"id": 7}, {"id": ""}, {"id": "x" * 201}, {"id": "7", "country": "C"},
            {"id": "7", "country": "CHN"}, {"id": "7", "country": "12"}, {"id": "7", "country": "中国"},
            {"id": "7", "verified": "yes"}, {"id": "7", "verified": 1}, {"id": "7", "name": "\u0000"},
            {"id": "7", "name": ""}, {"id": "7", "name": "x" * 301}, {"id": "7", "age": 7}, "7", [7],
        )
    )  # fmt: skip
    yield {**like, "actor": {"id": {"id": {"id": {}}}}}
    yield {**FULL["broadcast"], "title": "a\u001bb"}
    yield {**FULL["post"], "language": "not a language"}


def texts() -> Iterator[Case]:
    """What no JSON encoder writes."""
    good = encoded(FULL["interaction"])
    for name in ("kind", "event_id", "action", "v"):
        twice = b',"%s":%s}' % (name.encode(), encoded(FULL["interaction"][name]))
        yield Case(good[:-1] + twice)
        yield Case(b'{"%s":1,' % name.encode() + good[1:])
    yield Case(good.replace(b'"country"', b'"id"'))
    yield Case(good.replace(b'"post_id": "p"', b'"post_id": "a\\u003ab", "post_id": "p"'))
    yield Case(good.replace(b'"p"', b'"\\ud83d"'))
    yield Case(good.replace(b'"p"', b'"\\ude00\\ud83d"'))
    yield Case(good[:-1] + b',"x":' + b"[" * 40 + b"]" * 40 + b"}")
    yield Case(good[:-1] + b',"x":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", deep=True)
    yield Case(b'{"a":' * 200_000, deep=True)
    for bad in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xe4\xbc"):
        yield Case(good.replace(b'"p"', b'"' + bad + b'"'), whole=True)
    for bad in (b"NaN", b"Infinity", b"-Infinity", b"01", b"+1", b"1.", b".5", b"0x1", b"1e", b"--1", b"tru",
                b"None", b"'a'", b'"a\nb"', b'"\\x41"', b'"\\u12"', b'"', b"", b"1,", b"//"):  # fmt: skip
        yield Case(good.replace(b'"quantity": 2', b'"quantity": ' + bad), whole=True)
    for bad in (b"", b" ", b"\n\n", b"{", b"}", b"{]", b"nonsense", b"<xml/>", b"a=b&c=d", b"\x00" * 100,
                good[:-1], good + b"}", good + good, good[1:], b"\xff\xfe" + good, b"\x1f\x8b\x08\x00",
                b"[", b"[,]", b"[{}", b"[" + good + b",]", b"[" + good + b" " + good + b"]",
                b"[" * 200_000, "[1]".encode("utf-16")):  # fmt: skip
        yield Case(bad, whole=True)


def cases() -> list[Case]:
    """All of them, and a seeded lot of bytes at random."""
    draw = random.Random(20260622)
    noise = [Case(b"\x00" + draw.randbytes(draw.randint(1, 2000)), whole=True) for _ in range(20)]
    return [*(Case(encoded(event)) for event in events()), *texts(), *noise]


def test_every_malformed_input_has_a_reason_and_a_dead_letter_and_stops_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    """Sent one by one, and those that are JSON once more in one array with good events between them."""
    malformed = cases()
    assert len(malformed) > 200
    metrics = free_port()
    with (
        # With raw ids, so that dead letters are what was sent, byte for byte.
        Service("ingest", settings, tmp_path / "ingest.log", free_port(), **RAW_IDS) as ingest,
        Service("aggregate", settings, tmp_path / "aggregate.log", metrics) as aggregate,
    ):
        port = int(ingest.wait_ready().url.rpartition(":")[2])
        aggregate.wait_ready(60)
        expected = [_sent_alone(port, case) for case in malformed]
        members = [case.raw for case in malformed if not case.whole and not case.deep]
        expected += _sent_together(port, members)
        assert (ingest.process.poll(), aggregate.process.poll()) == (None, None)
        assert post(port, interaction("good-last"))[0] == 202
        counted = "fanpulse_account_events_total"
        eventually(
            lambda: _counted(aggregate, counted) == len(members) + 1, 60, "the good events are counted"
        )
        assert ingest.stop() == 0
        assert aggregate.stop() == 0
    records = asyncio.run(read_topic(settings, qualified(settings.namespace, REJECTED.name)))
    dead_letters = [json.loads(record.value or b"") for record in records]
    assert [(each["reason"], each["index"]) for each in dead_letters] == [(r, i) for _, r, i in expected]
    assert {Reason(reason) for _, reason, _ in expected} == set(Reason) - {Reason.NOT_ALLOWED}
    for dead_letter, (raw, _, _) in zip(dead_letters, expected, strict=True):
        kept = base64.b64decode(dead_letter["raw"])
        assert raw.startswith(kept) if dead_letter.get("truncated") else raw == kept
        assert dead_letter["bytes"] == len(raw)
    assert len({dead_letter["id"] for dead_letter in dead_letters}) == len(dead_letters)
    log = asyncio.run(read_topic(settings, qualified(settings.namespace, EVENTS.name)))
    entries = [entry for record in log for entry in json.loads(record.value or b"")]
    assert not [entry for entry in entries if entry.get("event_id") == "bad"]


Expected = tuple[bytes, str, int]


def _sent_alone(port: int, case: Case) -> Expected:
    status, answer, _ = post(port, case.raw)
    if case.whole:
        assert status == 400, (case.raw[:200], answer)
        assert {"type", "title", "status", "detail"} <= set(answer)
        return case.raw, answer["reason"], -1
    assert (status, answer.get("accepted")) == (422, 0), (case.raw[:200], answer)
    rejected: list[dict[str, Any]] = answer["rejected"]
    if case.raw.startswith(b"["):  # an array of what is not an event
        assert len(rejected) == 1
        return encoded(json.loads(case.raw)[0]), rejected[0]["reason"], 0
    assert [each["index"] for each in rejected] == [0]
    assert rejected[0]["detail"]
    return case.raw.strip(), rejected[0]["reason"], 0


def _sent_together(port: int, members: list[bytes]) -> list[Expected]:
    good = [encoded(interaction(f"good-{number}")) for number in range(len(members))]
    body = b"[" + b",".join(part for pair in zip(members, good, strict=True) for part in pair) + b"]"
    assert len(body) < 8 * 2**20, "one request holds them"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/events", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    assert (answer.status, told["accepted"]) == (202, len(good))
    assert [each["index"] for each in told["rejected"]] == list(range(0, 2 * len(members), 2))
    return [(raw, each["reason"], each["index"]) for raw, each in zip(members, told["rejected"], strict=True)]


def _counted(service: Service, name: str) -> float:
    return sum(value for key, value in service.metrics().items() if key.partition("{")[0] == name)
