"""Channels: what they send, when they try again, and when they give up."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from schemas.alerts import ALERT, AsOf, Milestone
from services.alerts.delivery import DeliveryError
from services.alerts.delivery.posting import LONGEST_PAUSE_SECONDS, Poster
from services.alerts.delivery.registry import CHANNELS, make_channels
from services.alerts.delivery.terminal import TerminalChannel
from services.alerts.delivery.webhook import WebhookChannel
from services.alerts.metrics import AlertsMetrics
from services.alerts.rules_on_disk import load_rules
from services.runtime.metrics import NamespacedRegistry
from services.runtime.settings import AlertsSettings, SettingsError
from tests.support.ports import free_port

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
ALERT_SENT = Milestone(
    id="0123456789abcdef",
    rule="r",
    scope="hashtag",
    subject=("伏羲大典",),
    metric="like",
    occurred_at=1_782_120_600_000,
    decided_at=1_782_120_601_000,
    as_of=(AsOf(partition=0, offset=7),),
    text="#伏羲大典 passed 1,000 likes (1,003) at 22 Jun 2026 09:30 UTC",
    threshold=1000,
    total=1003,
)


@dataclass
class Receiver:
    """A web server that gives these answers, then 204; ``requests`` holds (headers, body) of what came."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def serve(self) -> Iterator[Receiver]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests.append((dict(self.headers), body))
                status, headers = receiver.answers.pop(0) if receiver.answers else (204, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            self.url = f"http://127.0.0.1:{server.server_port}/hook"
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every pause between attempts; none is really waited for."""
    seconds: list[float] = []

    async def sleep(duration: float) -> None:
        seconds.append(duration)

    monkeypatch.setattr("httpx_retries.retry.asyncio", SimpleNamespace(sleep=sleep))
    return seconds


async def send(receiver: Receiver, attempts: int = 5) -> int:
    """Deliver the alert; returns how often it was tried again. Raises DeliveryError."""
    tried_again: list[int] = []
    channel = WebhookChannel(
        receiver.url, SECRET, on_retry=lambda problem: tried_again.append(1), attempts=attempts
    )
    try:
        await channel.deliver(ALERT_SENT)
    finally:
        await channel.close()
    return len(tried_again)


async def test_a_webhook_can_be_verified() -> None:
    """The receiver, with the standard library of the specification and the secret, takes it for genuine;
    a changed body or another secret does not pass."""
    with Receiver().serve() as receiver:
        assert await send(receiver) == 0
    ((headers, body),) = receiver.requests
    assert Webhook(SECRET).verify(body, headers) == json.loads(body)
    assert ALERT.validate_json(body) == ALERT_SENT
    assert headers["webhook-id"] == ALERT_SENT.id
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"1003", b"9003"), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(bytes(32)).decode()).verify(body, headers)


async def test_what_may_pass_is_tried_again(pauses: list[float]) -> None:
    """5xx, 429, 425 and 408 are tried again with growing pauses, under the same id, each signed."""
    with Receiver([(status, {}) for status in (503, 429, 408, 425, 500, 507)]).serve() as receiver:
        assert await send(receiver, attempts=9) == 6
    assert len(receiver.requests) == 7
    assert {headers["webhook-id"] for headers, _ in receiver.requests} == {ALERT_SENT.id}
    for headers, body in receiver.requests:
        Webhook(SECRET).verify(body, headers)
    assert len(pauses) == 6
    for number, pause in enumerate(pauses):
        assert 0.5 * 2**number <= pause <= 2**number


async def test_every_attempt_has_headers_of_its_own() -> None:
    """A signature is not older than its attempt: headers are asked for before each."""
    numbers = iter(range(9))
    poster = Poster(
        "test",
        on_retry=lambda problem: None,
        sign=lambda request: {"number": f"{request.method} {next(numbers)}"},
    )
    with Receiver([(503, {}), (503, {})]).serve() as receiver:
        await poster.post(receiver.url, "{}")
    await poster.close()
    assert [headers["number"] for headers, _ in receiver.requests] == ["POST 0", "POST 1", "POST 2"]


@pytest.mark.parametrize(
    ("header", "shortest", "longest"),
    [
        ("17", 17.0, 17.0),
        ("86400", LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS),
        ("Wed, 21 Oct 2099 07:28:00 GMT", LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS),
        ("Mon, 22 Jun 2015 09:29:00 GMT", 0.5, 1.0),
        ("0", 0.5, 1.0),
        ("soon", 0.5, 1.0),
        ("-3", 0.5, 1.0),
    ],
)
async def test_a_receiver_says_how_long_to_wait(
    header: str, shortest: float, longest: float, pauses: list[float]
) -> None:
    """Retry-After, seconds or a date, makes a pause longer, up to the longest one, and never shorter; what is
    neither says nothing."""
    with Receiver([(503, {"retry-after": header})]).serve() as receiver:
        await send(receiver)
    (pause,) = pauses
    assert shortest <= pause <= longest


async def test_a_receiver_in_a_hurry_is_not_asked_more_often(pauses: list[float]) -> None:
    """Who asks for a second each time gets the growing pauses all the same: a receiver that is down for some
    minutes costs no alert."""
    with Receiver([(503, {"retry-after": "1"})] * 5).serve() as receiver:
        await send(receiver, attempts=6)
    assert [pause >= 0.5 * 2**number for number, pause in enumerate(pauses)] == [True] * 5


async def test_an_alert_is_tried_for_a_bounded_time(pauses: list[float]) -> None:
    """Ten attempts and no pause of more than two minutes: within 20 minutes of pauses the next alert gets its
    turn, however long the receiver asks to wait."""
    tried_again: list[int] = []
    with Receiver([(503, {"retry-after": "86400"})] * 20).serve() as receiver:
        channel = WebhookChannel(receiver.url, SECRET, on_retry=lambda problem: tried_again.append(1))
        with pytest.raises(DeliveryError, match="at the last of 10 attempts"):
            await channel.deliver(ALERT_SENT)
        await channel.close()
    assert len(receiver.requests) == 10
    assert pauses == [LONGEST_PAUSE_SECONDS] * 9
    assert len(tried_again) == 9


async def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a company's proxy the receiver is reached through it."""
    with Receiver([(503, {})]).serve() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert await send(Receiver(url="http://receiver.invalid/hook")) == 1
    assert [headers["Host"] for headers, _ in proxy.requests] == ["receiver.invalid"] * 2


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302])
async def test_what_will_not_pass_is_given_up(status: int, pauses: list[float]) -> None:
    """Other answers than 2xx are final: trying again is no use."""
    with (
        Receiver([(status, {"location": "/"})]).serve() as receiver,
        pytest.raises(DeliveryError, match=f"^the receiver answered {status}$"),
    ):
        await send(receiver)
    assert len(receiver.requests) == 1
    assert pauses == []


async def test_trying_again_has_an_end() -> None:
    """After the last attempt the alert is given up, so that the next one gets its turn."""
    with (
        Receiver([(500, {})] * 9).serve() as receiver,
        pytest.raises(DeliveryError, match="the receiver answered 500, at the last of 3 attempts"),
    ):
        await send(receiver, attempts=3)
    assert len(receiver.requests) == 3


async def test_a_receiver_that_is_not_there_is_tried_again(pauses: list[float]) -> None:
    """A connection that is not accepted now may be accepted later."""
    with pytest.raises(DeliveryError, match=r"^ConnectError: .*, at the last of 3 attempts"):
        await send(Receiver(url=f"http://127.0.0.1:{free_port()}"), attempts=3)
    assert len(pauses) == 2


async def test_the_terminal_gets_a_line() -> None:
    """The sentence and nothing else; what would steer the terminal is made harmless."""
    stream = io.StringIO()
    await TerminalChannel(stream).deliver(ALERT_SENT)
    await TerminalChannel(stream).deliver(ALERT_SENT.model_copy(update={"text": "a\x1b[2J\nb\u202e"}))
    assert stream.getvalue() == f"{ALERT_SENT.text}\na\\u{{1b}}[2J\\u{{a}}b\\u{{202e}}\n"


async def test_a_closed_terminal_is_a_failed_delivery() -> None:
    """Standard output that is gone stops nothing else."""
    stream = io.StringIO()
    stream.close()
    with pytest.raises(DeliveryError, match="standard output cannot be written to"):
        await TerminalChannel(stream).deliver(ALERT_SENT)


@pytest.mark.parametrize(
    ("url", "secret", "message"),
    [
        ("http://h/x", None, "always signed: set FANPULSE_ALERTS_WEBHOOK_SECRET"),
        (None, SECRET, "alerts.webhook_url is not"),
        ("ftp://h/x", SECRET, "alerts.webhook_url is no http or https URL"),
        ("h/x", SECRET, "alerts.webhook_url is no http or https URL"),
        ("http://h:port/", SECRET, "alerts.webhook_url is no URL"),
        ("http://h/x", "secret", "does not begin with whsec_"),
        ("http://h/x", "whsec_%%%", "is not base64"),
        ("http://h/x", "whsec_c2hvcnQ=", "has 5 bytes"),
    ],
)
def test_a_webhook_that_cannot_work_is_rejected_at_start(
    url: str | None, secret: str | None, message: str
) -> None:
    """One line that says what to change, and never the secret."""
    alerts = AlertsSettings(webhook_url=url, webhook_secret=SecretStr(secret) if secret else None)
    with pytest.raises(SettingsError) as raised:
        make_channels(alerts, metrics())
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert secret is None or secret not in str(raised.value) or secret == "secret"  # a word of the message


@pytest.mark.parametrize(("size", "good"), [(23, False), (24, True), (32, True), (64, True), (65, False)])
async def test_a_secret_has_24_to_64_bytes(size: int, good: bool) -> None:
    """As the specification says, in base64 after whsec_."""
    secret = SecretStr("whsec_" + base64.b64encode(bytes(size)).decode())
    alerts = AlertsSettings(terminal=False, webhook_url="http://h/x", webhook_secret=secret)
    if good:
        (channel,) = make_channels(alerts, metrics())
        await channel.close()
    else:
        with pytest.raises(SettingsError, match=f"has {size} bytes"):
            make_channels(alerts, metrics())


def metrics() -> AlertsMetrics:
    return AlertsMetrics(NamespacedRegistry(), load_rules(None))


@pytest.mark.parametrize(
    ("alerts", "names"),
    [
        (AlertsSettings(), ["terminal"]),
        (AlertsSettings(terminal=False), []),
        (AlertsSettings(webhook_url="http://h/x", webhook_secret=SecretStr(SECRET)), ["terminal", "webhook"]),
    ],
)
async def test_the_settings_say_which_channels_there_are(alerts: AlertsSettings, names: list[str]) -> None:
    """A channel that is not asked for is not made; each has the name under which it is registered."""
    channels = make_channels(alerts, metrics())
    assert [channel.name for channel in channels] == names
    assert set(names) <= CHANNELS.keys()
    for channel in channels:
        await channel.close()


async def test_the_example_of_the_docs_works(capsys: pytest.CaptureFixture[str]) -> None:
    """The receiver in docs/alerts.md takes what is sent, prints it once, and rejects a changed body."""
    page = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text(encoding="utf-8")
    example: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], example)  # noqa: S102 - our own page
    with Receiver().serve() as receiver:
        await send(receiver)
    ((headers, body),) = receiver.requests
    assert [example["receive"](headers, body) for _ in range(2)] == [204, 204]
    assert example["receive"](headers, body + b" ") == 401
    assert capsys.readouterr().out == f"{ALERT_SENT.text}\n"
