"""The HTTP rules of POST /v1/events, by the real ASGI application over a publisher in memory."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest

from schemas.dead_letter import encode_dead_letter
from schemas.hashtags import AliasTable
from schemas.reasons import Reason, Rejection
from services.ingest.http.api import build_api
from services.ingest.http.asgi import IngestApp
from services.ingest.http.auth import ApiKeys, check_access
from services.ingest.http.body import MAX_MEMBERS
from services.ingest.http.deadlines import Deadlines
from services.ingest.http.submitter import Submitter
from services.ingest.kafka.byte_limiter import ByteLimiter
from services.ingest.kafka.publisher import (
    AckTimeoutError,
    OverloadedError,
    ProducerFailedError,
)
from services.ingest.metrics import IngestMetrics
from services.ingest.pipeline.enrichment import Enrichment
from services.ingest.pipeline.keys import Key
from services.ingest.pipeline.known_posts import KnownPosts
from services.ingest.pipeline.packing import RecordLimits
from services.ingest.pipeline.pipeline import Pipeline
from services.ingest.pipeline.pseudonyms import Pseudonymizer
from services.ingest.pipeline.publish_request import PublishRequest
from services.ingest.pipeline.stream_time import WallStreamTime
from services.runtime.metrics import NamespacedRegistry, expose
from services.runtime.readiness import Readiness
from services.runtime.settings import IngestSettings, Settings, SettingsError

NOW = 1_782_120_600_000
EVENT = {
    "kind": "interaction", "event_id": "e", "occurred_at": NOW, "platform": "twitter",
    "account": "GansuTravel", "action": "like",
}  # fmt: skip
LIMIT = 4096


class MemoryPublisher:
    """Acknowledges at once what it is given, or does what a test tells it."""

    partitions = 4

    def __init__(self) -> None:
        self.requests: list[PublishRequest] = []
        self.rejection: Exception | None = None
        self.failure: Exception | None = None

    def submit(self, request: PublishRequest) -> asyncio.Future[None]:
        if self.rejection is not None:
            raise self.rejection
        self.requests.append(request)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
        else:
            future.set_result(None)
        return future

    def entries(self) -> list[dict[str, Any]]:
        return [
            entry
            for request in self.requests
            for each in request.fragments
            for entry in json.loads(b"[" + each.data + b"]")
        ]

    def dead_letters(self) -> list[dict[str, Any]]:
        return [json.loads(dead_letter) for request in self.requests for dead_letter in request.dead_letters]


class Ingest:
    """The application and a client for it."""

    def __init__(self, *keys: str, read_seconds: float = 5.0) -> None:
        self.publisher = MemoryPublisher()
        self.byte_limiter = ByteLimiter(10 * LIMIT)
        self.registry = NamespacedRegistry()
        self.readiness = Readiness(self.registry, "it starts", clock=lambda: 0.0)
        self.readiness.enter(None)
        metrics = IngestMetrics(self.registry)
        stream_time = WallStreamTime(lambda: NOW, 1000)
        pipeline = Pipeline(
            Enrichment(KnownPosts(1000), AliasTable(), Pseudonymizer((), None)),
            stream_time,
            record_limits=RecordLimits(100, 2000),
            max_events=50,
            partitions=lambda: self.publisher.partitions,
            wall_ms=lambda: NOW,
        )
        hashes = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
        self.keys = ApiKeys(hashes, clock=lambda: 0.0)
        metrics.know_keys(self.keys.names)
        self.know_keys = metrics.know_keys
        self.deadlines = Deadlines(read_seconds)
        self.app = IngestApp(
            build_api(self.registry, self.readiness),
            pipeline,
            Submitter(self.publisher, stream_time, metrics),  # type: ignore[arg-type]
            self.keys,
            self.byte_limiter,
            metrics,
            not_ready_reason=self.readiness.reason,
            max_body_bytes=LIMIT,
            max_events=50,
            deadlines=self.deadlines,
        )
        transport = httpx.ASGITransport(self.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://ingest")

    async def post(self, body: bytes | Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post("/v1/events", content=content, headers=named)

    def metric(self, name: str) -> float:
        lines = expose(self.registry)[0].decode().splitlines()
        return float(next(line.rsplit(" ", 1)[1] for line in lines if line.startswith(name + " ")))


@pytest.fixture
async def ingest() -> AsyncIterator[Ingest]:
    made = Ingest()
    yield made
    assert made.byte_limiter.reserved == 0, "a request kept bytes reserved"


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail"} <= set(found)
    assert found["status"] == answer.status_code
    return found


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", EVENT),
        ("application/json; charset=utf-8", [EVENT]),
        ("application/vnd.fanpulse+json", [EVENT]),
        ("text/plain", EVENT),
        ("application/x-ndjson", json.dumps(EVENT).encode() + b"\n"),
        ("application/jsonl", json.dumps(EVENT).encode()),
        ("application/json", b"\xef\xbb\xbf" + json.dumps(EVENT).encode()),
    ],
)
async def test_an_event_is_accepted_in_every_form(ingest: Ingest, media: str, body: Any) -> None:
    """One object, an array or a line; the answer is 202 with how many."""
    answer = await ingest.post(body, content_type=media)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    assert [entry["event_id"] for entry in ingest.publisher.entries()] == ["e"]
    assert ingest.metric('fanpulse_ingest_events_accepted_total{kind="interaction"}') == 1
    assert ingest.metric('fanpulse_ingest_requests_total{status="202"}') == 1


async def test_a_mixed_batch_is_202_and_a_bad_one_422(ingest: Ingest) -> None:
    """Both with the same body; every bad event is a dead letter with its bytes, reason and source."""
    bad = {**EVENT, "actor": {"id": "1", "country": "CHN"}}
    answer = await ingest.post([EVENT, bad], x_fanpulse_source="crm export 7")
    told = answer.json()
    detail = told["rejected"][0].pop("detail")
    assert detail
    assert answer.status_code == 202
    assert told == {"accepted": 1, "rejected": [{"index": 1, "field": "actor.country", "reason": "too_long"}]}
    assert (await ingest.post([bad])).status_code == 422
    first, second = ingest.publisher.dead_letters()
    assert (first["index"], first["field"], first["reason"]) == (1, "actor.country", "too_long")
    assert (first["source"], second["source"]) == ("crm export 7", "http")
    assert json.loads(first["raw_text"]) == bad
    assert (first["received_at"], first["detail"]) == (NOW, detail)
    assert ingest.metric('fanpulse_ingest_events_rejected_total{reason="too_long"}') == 2


async def test_nothing_is_a_good_request(ingest: Ingest) -> None:
    """An empty array is what a client sends that had nothing to send; an empty body is a mistake."""
    assert (await ingest.post([])).json() == {"accepted": 0, "rejected": []}
    for body in (b"", b" \n"):
        assert problem(await ingest.post(body))["status"] == 400


@pytest.mark.parametrize("body", [b"{", b"[{}", b"nonsense", b"[NaN]", b"\x1f\x8b\x08", b"[" * 3000])
async def test_a_body_that_is_not_json_is_400_and_a_dead_letter(ingest: Ingest, body: bytes) -> None:
    """The dead letter has the whole body and no index."""
    answer = problem(await ingest.post(body))
    assert answer["status"] == 400
    (dead_letter,) = ingest.publisher.dead_letters()
    assert (dead_letter["index"], dead_letter["reason"]) == (-1, answer["reason"])
    assert dead_letter["bytes"] == len(body)


async def test_gzip_is_unpacked(ingest: Ingest) -> None:
    """Of one member or several, as log shippers append them; with nothing else after."""
    line = json.dumps(EVENT).encode() + b"\n"
    packed = gzip.compress(line) + gzip.compress(line)
    answer = await ingest.post(packed, content_encoding="gzip", content_type="application/x-ndjson")
    assert answer.json() == {"accepted": 2, "rejected": []}
    for broken in (b"plain", packed[:-3], packed + b"x", b"", gzip.compress(b"") * (MAX_MEMBERS + 1)):
        answer = await ingest.post(broken[: LIMIT * 10], content_encoding="gzip")
        assert answer.status_code in (400, 413), broken[:20]
    assert problem(await ingest.post(b"plain", content_encoding="gzip"))["reason"] == "not_json"


async def test_a_small_body_may_not_unpack_to_a_large_one(ingest: Ingest) -> None:
    """The limit holds for what is unpacked, and it is unpacked no further than that."""
    at_limit = json.dumps([EVENT]).encode().ljust(LIMIT)
    assert (await ingest.post(gzip.compress(at_limit), content_encoding="gzip")).status_code == 202
    answer = await ingest.post(gzip.compress(at_limit + b" "), content_encoding="gzip")
    assert problem(answer)["status"] == 413
    bomb = gzip.compress(bytes(1_000_000))
    assert len(bomb) < LIMIT
    assert (await ingest.post(bomb, content_encoding="gzip")).status_code == 413


async def test_a_large_body_is_rejected(ingest: Ingest) -> None:
    """At the limit it is taken; by its announced length, or as it grows, one byte more is 413."""
    body = json.dumps([EVENT]).encode()
    assert (await ingest.post(body.ljust(LIMIT))).status_code == 202
    assert problem(await ingest.post(body.ljust(LIMIT + 1)))["status"] == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * (LIMIT // 4)

    assert problem(await ingest.client.post("/v1/events", content=chunks()))["status"] == 413
    assert not ingest.publisher.dead_letters()


async def test_too_many_events_are_413(ingest: Ingest) -> None:
    """The number is limited apart from the bytes."""
    assert problem(await ingest.post(b"[" + b"{}," * 50 + b"{}]"))["status"] == 413


async def test_a_body_is_not_read_when_its_length_is_too_large(ingest: Ingest) -> None:
    """The answer is there before the first byte is asked for."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        assert sent, "the body was read before the answer"
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", b"%d" % (LIMIT + 1)), (b"expect", b"100-continue")]
    scope = {"type": "http", "path": "/v1/events", "method": "POST", "headers": headers}
    await ingest.app(scope, receive, send)
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_a_slow_body_is_408(ingest: Ingest) -> None:
    """And gives back what it held."""
    slow = Ingest(read_seconds=0.0)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    answer = asyncio.create_task(slow.client.post("/v1/events", content=stuck()))
    while not answer.done():
        await asyncio.sleep(0)
        slow.deadlines.sweep()
    assert problem(answer.result())["status"] == 408
    assert slow.byte_limiter.reserved == 0


async def test_a_client_that_goes_away_leaves_nothing(ingest: Ingest) -> None:
    """No answer, no dead letter, no bytes held."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    headers = [(b"content-length", b"100")]
    await ingest.app(
        {"type": "http", "path": "/v1/events", "method": "POST", "headers": headers}, receive, send
    )
    assert not ingest.publisher.requests


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "application/xml"},
        {"content_type": "application/json; charset=utf-16"},
        {"content_encoding": "br"},
        {"content_encoding": "gzip, gzip"},
    ],
)
async def test_what_is_not_understood_is_415(ingest: Ingest, headers: dict[str, str]) -> None:
    """With a word about what is."""
    assert problem(await ingest.post(EVENT, **headers))["detail"]
    assert (await ingest.post(EVENT, **headers)).status_code == 415


@pytest.mark.parametrize(
    ("error", "retry"), [(OverloadedError(), "1"), (ProducerFailedError("x"), "5")]
)  # fmt: skip
async def test_no_room_is_503(ingest: Ingest, error: Exception, retry: str) -> None:
    """With Retry-After, and nothing of the request is counted as accepted or rejected."""
    ingest.publisher.rejection = error
    answer = await ingest.post([EVENT, {}])
    assert problem(answer)["status"] == 503
    assert answer.headers["retry-after"] == retry
    assert ingest.metric('fanpulse_ingest_events_accepted_total{kind="interaction"}') == 0
    assert ingest.metric('fanpulse_ingest_events_rejected_total{reason="missing_field"}') == 0


@pytest.mark.parametrize("error", [AckTimeoutError(), ProducerFailedError("x")])
@pytest.mark.parametrize("body", [EVENT, [EVENT], [{}], b"nonsense"])
async def test_without_an_acknowledgement_it_is_503(ingest: Ingest, error: Exception, body: Any) -> None:
    """For dead letters as for events: nothing is called done that is not in the log."""
    ingest.publisher.failure = error
    answer = await ingest.post(body)
    assert problem(answer)["status"] == 503
    assert "same event_id" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0


async def together(ingest: Ingest, *bodies: Any) -> list[httpx.Response]:
    """The answers to bodies that are posted in one turn of the event loop."""
    return await asyncio.gather(*(ingest.post(body) for body in bodies))


async def test_single_events_that_come_together_go_together(ingest: Ingest) -> None:
    """In one publish request; each request is answered for its own event, and each event is counted."""
    answers = await together(ingest, *({**EVENT, "event_id": f"e{n}"} for n in range(20)))
    assert [(each.status_code, each.json()) for each in answers] == [
        (202, {"accepted": 1, "rejected": []})
    ] * 20
    assert len(ingest.publisher.requests) == 1
    assert sorted(each["event_id"] for each in ingest.publisher.entries()) == sorted(
        f"e{n}" for n in range(20)
    )
    assert ingest.metric('fanpulse_ingest_events_accepted_total{kind="interaction"}') == 20
    assert ingest.metric("fanpulse_ingest_request_seconds_count") == 20


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ({**EVENT, "action": "wink"}, 422),
        (b'{"kind":', 400),
        (json.dumps(EVENT)[:-1].encode() + b',"action":"like"}', 422),
        ({**EVENT, "occurred_at": NOW + 1001}, 422),
    ],
)
async def test_a_bad_event_spoils_none_of_those_that_come_with_it(
    ingest: Ingest, bad: Any, status: int
) -> None:
    """It is rejected by itself, with its reason; the others are in the log once."""
    good = [{**EVENT, "event_id": f"e{n}"} for n in range(4)]
    answers = await together(ingest, *good[:2], bad, *good[2:])
    assert [each.status_code for each in answers] == [202, 202, status, 202, 202]
    assert sorted(each["event_id"] for each in ingest.publisher.entries()) == ["e0", "e1", "e2", "e3"]
    assert len(ingest.publisher.dead_letters()) == 1
    assert ingest.metric('fanpulse_ingest_events_accepted_total{kind="interaction"}') == 4


async def test_halves_of_events_make_no_event(ingest: Ingest) -> None:
    """Bodies that would be two events if they were joined are rejected, each by itself."""
    first, second = (json.dumps({**EVENT, "event_id": name}).encode() for name in "ab")
    at = second.index(b",")
    for comma in (b",", b""):
        answers = await together(ingest, first + comma + second[:at], b"{" + second[at + 1 :])
        assert [each.status_code for each in answers] == [400, 422]
    assert ingest.publisher.entries() == []


async def test_events_that_come_together_find_room_each_by_itself(ingest: Ingest) -> None:
    """What there is no room for together is tried alone, and answered 503 if there is none for it either."""
    ingest.publisher.rejection = OverloadedError()
    answers = await together(ingest, EVENT, EVENT)
    assert [problem(each)["status"] for each in answers] == [503, 503]
    assert [each.headers["retry-after"] for each in answers] == ["1", "1"]
    assert ingest.metric('fanpulse_ingest_events_accepted_total{kind="interaction"}') == 0


async def test_bodies_share_one_byte_limit(ingest: Ingest) -> None:
    """While others hold it, a request is answered 503 before it is read."""
    ingest.byte_limiter.force(10 * LIMIT)
    answer = await ingest.post([EVENT])
    assert problem(answer)["status"] == 503
    ingest.byte_limiter.give(10 * LIMIT)
    assert (await ingest.post([EVENT])).status_code == 202


async def test_before_it_is_ready_it_takes_nothing(ingest: Ingest) -> None:
    """/readyz and the events say why; /healthz says that it lives."""
    ingest.readiness.enter("it starts")
    assert problem(await ingest.post([EVENT]))["detail"] == "it starts"
    ready = await ingest.client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {"status": "waiting", "reason": "it starts", "since": ready.json()["since"]}
    assert (await ingest.client.get("/healthz")).json() == {"status": "ok"}
    ingest.readiness.enter(None)
    assert (await ingest.client.get("/readyz")).json() == {"status": "ready"}


async def test_an_api_key_is_needed_where_there_are_some() -> None:
    """As bearer token or X-API-Key; a wrong one is told how, and reads nothing."""
    ingest = Ingest("secret", "other")
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic secret"},
        {"x_api_key": ""},
    ):
        answer = await ingest.post([EVENT], **headers)
        assert problem(answer)["status"] == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for headers in (
        {"authorization": "Bearer secret"},
        {"authorization": "bearer other"},
        {"x_api_key": "other"},
    ):
        assert (await ingest.post([EVENT], **headers)).status_code == 202


@pytest.mark.parametrize("source", ["", "x" * 201, "tab\there", " "])
async def test_an_unfit_source_is_not_kept(ingest: Ingest, source: str) -> None:
    """A dead letter's source is a short printable name."""
    await ingest.post([{}], x_fanpulse_source=source)
    assert ingest.publisher.dead_letters()[0]["source"] == "http"


async def test_other_methods_and_paths_are_problems_too(ingest: Ingest) -> None:
    """405 names the method that is allowed."""
    answer = await ingest.client.get("/v1/events")
    assert problem(answer)["status"] == 405
    assert answer.headers["allow"] == "POST"
    assert problem(await ingest.client.post("/v1/event"))["status"] == 404


async def test_an_event_larger_than_a_record_is_a_dead_letter(ingest: Ingest) -> None:
    """It turns out once the event is complete; its neighbours go through."""
    large = {**EVENT, "event_id": "large", "hashtags": [f"{n}" + "标" * 60 for n in range(12)]}
    answer = await ingest.post([EVENT, large, {}])
    assert [(each["index"], each["reason"]) for each in answer.json()["rejected"]] == [
        (1, "too_large"), (2, "missing_field"),
    ]  # fmt: skip
    assert [entry["event_id"] for entry in ingest.publisher.entries()] == ["e"]
    assert json.loads(ingest.publisher.dead_letters()[0]["raw_text"]) == large


async def test_a_long_dead_letter_is_cut(ingest: Ingest) -> None:
    """Its record must fit Kafka; it says how long it was."""
    rejection = Rejection("", Reason.NOT_JSON, "x")
    made = encode_dead_letter(rejection, b"\xff" * 1_000_000, source="http", received_at=NOW, index=-1)
    dead_letter = msgspec.json.decode(made)
    assert (dead_letter["bytes"], dead_letter["truncated"]) == (1_000_000, True)
    assert "raw_text" not in dead_letter
    assert len(made) < 500_000


async def test_the_openapi_document_has_the_contract(ingest: Ingest) -> None:
    """The operation, the four kinds with their discriminator, and the answers."""
    document = (await ingest.client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/events"]["post"]
    assert set(operation["responses"]) == {"202", "400", "401", "408", "413", "415", "422", "429", "503"}
    one, many = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert many["items"] == one
    assert set(one["discriminator"]["mapping"]) == {"interaction", "post", "reading", "broadcast"}
    components = document["components"]["schemas"]

    def references(node: Any, found: Callable[[str], None]) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                found(node["$ref"])
            for member in node.values():
                references(member, found)
        elif isinstance(node, list):
            for member in node:
                references(member, found)

    names: list[str] = []
    references(document, names.append)
    assert names
    assert {name.removeprefix("#/components/schemas/") for name in names} <= set(components)


async def test_the_page_loads_nothing_from_elsewhere(ingest: Ingest) -> None:
    """Customers have no way to the internet: every address on it is our own."""
    page = (await ingest.client.get("/docs")).text
    assert "swagger-ui" in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_public_address_needs_a_key() -> None:
    """One line says what to change; a loopback address needs none; a hash that is none is rejected."""
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        check_access(Settings(ingest=IngestSettings(host=host)))
    hashed = hashlib.sha256(b"key").hexdigest()
    check_access(Settings(ingest=IngestSettings(host="0.0.0.0", api_key_hashes=(hashed,))))
    for wrong in (
        IngestSettings(host="0.0.0.0"),
        IngestSettings(host="::"),
        IngestSettings(host="ingest.example"),
        IngestSettings(api_key_hashes=("secret",)),
    ):
        with pytest.raises(SettingsError, match=r"^ingest\.[^\n]+FANPULSE_|^ingest\.[^\n]+sha256sum"):
            check_access(Settings(ingest=wrong))


def test_the_hash_of_an_empty_key_stops_the_start() -> None:
    """`printf %s "$KEY" | sha256sum` gives it when KEY is not set, and it opens the door to everybody."""
    for digest in (hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"").hexdigest().upper()):
        settings = Settings(ingest=IngestSettings(host="0.0.0.0", api_key_hashes=("ab" * 32, digest)))
        with pytest.raises(SettingsError, match="empty key"):
            check_access(settings)


async def test_no_key_opens_nothing_whatever_the_hashes_are() -> None:
    """An absent key and an empty one are none."""
    ingest = Ingest("")
    for headers in ({}, {"x_api_key": ""}, {"authorization": "Bearer "}, {"authorization": "Bearer"}):
        assert (await ingest.post(EVENT, **headers)).status_code == 401


async def test_a_key_writes_within_its_scope_and_rate() -> None:
    """What is outside is rejected event by event; the dead letter names the key, and so do the metrics."""
    ingest = Ingest()
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("studio", "poller")}
    ingest.keys.use(
        [
            Key(name="studio", sha256=digests["studio"], accounts=("twitter:Gansu*",), events_per_second=2),
            Key(name="poller", sha256=digests["poller"], max_quantity=3),
        ]
    )
    ingest.know_keys(ingest.keys.names)
    foreign = {**EVENT, "account": "Other"}
    assert (await ingest.post(EVENT)).status_code == 401
    answer = await ingest.post([EVENT, foreign], authorization="Bearer studio", x_fanpulse_source="cms")
    assert answer.json()["accepted"] == 1
    assert [(each["index"], each["reason"]) for each in answer.json()["rejected"]] == [(1, "not_allowed")]
    assert (await ingest.post(foreign, authorization="Bearer studio")).status_code == 422
    one = await ingest.post(EVENT, authorization="Bearer studio")
    assert one.status_code == 202
    late = await ingest.post(EVENT, authorization="Bearer studio")
    assert (late.status_code, late.headers["retry-after"]) == (429, "1")
    assert "'studio'" in late.json()["detail"]
    for quantity, status in ((3, 202), (4, 422)):
        answer = await ingest.post({**EVENT, "quantity": quantity}, x_api_key="poller")
        assert answer.status_code == status
    rejected = ingest.publisher.dead_letters()
    assert [each["source"] for each in rejected] == ["studio/cms", "studio/http", "poller/http"]
    assert all(each["source"].partition("/")[0] in each["detail"] for each in rejected)
    for name, counts in {"studio": (2, 2), "poller": (1, 1)}.items():
        for result, count in zip(("accepted", "rejected"), counts, strict=True):
            metric = f'fanpulse_ingest_key_events_total{{key="{name}",result="{result}"}}'
            assert ingest.metric(metric) == count
