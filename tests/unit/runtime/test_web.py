"""The HTTP endpoint of a service."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import pytest
from prometheus_client import Gauge

from services.runtime.metrics import NamespacedRegistry
from services.runtime.readiness import Readiness
from services.runtime.settings import SettingsError
from services.runtime.web import Endpoint


class Service:
    """Something with a state and a metric that only the thread of its loop may read."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.registry = NamespacedRegistry("demo")
        self.readiness = Readiness(self.registry, "reading totals", clock=lambda: 0.0)
        Gauge("answer", "The answer", registry=self.registry).set_function(self._read)

    def _read(self) -> float:
        self.threads.add(threading.get_ident())
        return 42.0


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        Endpoint(service.registry, service.readiness, host="127.0.0.1", port=0) as endpoint,
        httpx.AsyncClient(base_url=endpoint.url) as client,
    ):
        yield client


async def test_metrics_are_collected_in_the_loop(service: Service, client: httpx.AsyncClient) -> None:
    """Collectors run in the thread of the event loop, so what belongs to the loop can be read unlocked."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert 'answer{namespace="demo"} 42.0' in response.text.splitlines()
    assert service.threads == {threading.get_ident()}


async def test_compression_is_for_those_who_take_it(client: httpx.AsyncClient) -> None:
    """gzip where the client accepts it, plain text where not; the text is the same."""
    compressed = await client.get("/metrics", headers={"Accept-Encoding": "gzip"})
    plain = await client.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert compressed.text == plain.text


async def test_openmetrics_is_for_those_who_ask(client: httpx.AsyncClient) -> None:
    """The Accept header that Prometheus sends gives OpenMetrics."""
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


async def test_ready_says_why_not(service: Service, client: httpx.AsyncClient) -> None:
    """503 with the reason until the service does its job, then 200; alive all the while."""
    waiting = await client.get("/readyz")
    assert waiting.status_code == 503
    told = waiting.json()
    assert (told["status"], told["reason"]) == ("waiting", "reading totals")
    assert abs(datetime.fromisoformat(told["since"]).timestamp() - time.time()) < 3600
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    service.readiness.enter(None)
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


async def test_only_what_is_there_can_be_read(client: httpx.AsyncClient) -> None:
    """HEAD works like GET; other methods get 405 and other paths 404."""
    assert (await client.head("/healthz")).status_code == 200
    assert (await client.post("/metrics")).status_code == 405
    assert (await client.get("/")).status_code == 404


async def test_garbage_does_not_stop_it(service: Service, client: httpx.AsyncClient) -> None:
    """A client that speaks no HTTP, or sends a header that never ends, gets 400 and hurts nobody else."""
    port = client.base_url.port
    assert port is not None
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 20_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        await writer.drain()
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
    assert (await client.get("/healthz")).status_code == 200


async def test_a_taken_port_is_a_setting_to_change(service: Service) -> None:
    """One line that says which address is taken and what to do."""
    async with Endpoint(service.registry, service.readiness, host="127.0.0.1", port=0) as first:
        second = Endpoint(service.registry, service.readiness, host="127.0.0.1", port=first.port)
        with pytest.raises(
            SettingsError, match=rf"cannot listen on 127\.0\.0\.1:{first.port} .*metrics_port"
        ) as raised:
            await second.start()
        assert "\n" not in str(raised.value)


async def test_stop_frees_the_port(service: Service) -> None:
    """After stop the same port can be had again, also with a connection left open by a client."""
    endpoint = Endpoint(service.registry, service.readiness, host="127.0.0.1", port=0)
    await endpoint.start()
    port = endpoint.port
    async with httpx.AsyncClient() as client:
        await client.get(f"{endpoint.url}/healthz")
        await endpoint.stop()
    async with Endpoint(service.registry, service.readiness, host="127.0.0.1", port=port) as again:
        assert again.port == port
