"""Known secrets are in no line of a log, in whatever form a library writes them."""

from __future__ import annotations

import json
import logging as stdlib
from collections.abc import Iterator
from typing import Literal
from urllib.parse import quote

import httpx
import pytest
import structlog
from pydantic import BaseModel, SecretStr

from services.runtime import logging, redaction
from services.runtime.redaction import protect, redact, secret_values

PASSWORD = 'p\u00e4ss "w\\rd\n'
ADDRESS = "https://hooks.example/services/T012/B345/aVeryLongSecret?token=another-secret"


class _Inner(BaseModel):
    hook_url: str | None = ADDRESS


class _Settings(BaseModel):
    password: SecretStr = SecretStr(PASSWORD)
    short: SecretStr = SecretStr("abc")
    inner: _Inner = _Inner()
    name: str = "not secret"


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither the secrets nor the logging outlive the test."""
    monkeypatch.setattr(redaction, "_protected", set())
    monkeypatch.setattr(redaction, "_pattern", None)
    root, library = stdlib.getLogger(), stdlib.getLogger("httpx")
    handlers, level, own = list(root.handlers), root.level, library.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    library.setLevel(own)
    stdlib.captureWarnings(False)
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_has_a_secret(form: Literal["json", "console"], capsys: pytest.CaptureFixture[str]) -> None:
    """As a field, nested, in an object, in arguments, in a traceback, in bytes, in JSON, in an address."""
    protect(secret_values(_Settings()))
    logging.configure("debug", form)
    log = structlog.get_logger("ours")
    log.info(
        "opened", password=PASSWORD, nested={"of": [PASSWORD, {PASSWORD: 1}]}, thing=[_Settings, PASSWORD]
    )
    stdlib.getLogger("theirs").debug("Request %s", b"\x00user\x00" + PASSWORD.encode())
    stdlib.getLogger("theirs").debug("Sent %s to %s", json.dumps({"password": PASSWORD}), quote(PASSWORD))
    try:
        raise ValueError(f"{PASSWORD} at {ADDRESS}")
    except ValueError:
        log.exception("failed")
        stdlib.getLogger("theirs").exception("failed too")
    with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(204))) as client:
        client.post(ADDRESS)
    said = capsys.readouterr().err
    assert "HTTP Request: POST https://hooks.example***" in said
    for part in (PASSWORD.strip(), "p\\xc3\\xa4ss", "aVeryLongSecret", "another-secret", "ss%20%22", '\\"w'):
        assert part not in said, said
    if form == "json":
        assert {json.loads(line)["event"] for line in said.splitlines()} >= {"opened", "failed", "failed too"}


def test_ordinary_texts_stay_as_they_are() -> None:
    """Short secrets are part of many words; without any secret nothing is looked for."""
    assert redact("abc and not secret") == "abc and not secret"
    protect(secret_values(_Settings()))
    assert redact("abc and not secret") == "abc and not secret"


def test_user_and_password_of_any_address_are_taken_out() -> None:
    """Such as those of a proxy in the environment, which no setting has."""
    assert redact("proxy http://me:s3cret@proxy:3128/x failed") == "proxy http://***@proxy:3128/x failed"
