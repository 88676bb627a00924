"""The small HTTP endpoint of a service: /metrics, /healthz and /readyz."""

from __future__ import annotations

import json
from types import TracebackType

from aiohttp import web
from aiohttp.hdrs import ACCEPT, ACCEPT_ENCODING
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import gzip_accepted

from services.runtime.metrics import expose
from services.runtime.readiness import Readiness
from services.runtime.settings import SettingsError

_SHUTDOWN_SECONDS = 2.0


class Endpoint:
    """Serves a registry and the state of a service, in the event loop that starts it.

    - ``/metrics``: text or OpenMetrics by the Accept header, gzip if the client accepts it. Collectors run in
      the event loop, so they may read its state; compression runs in a thread.
    - ``/healthz``: 200 while the event loop runs.
    - ``/readyz``: 200 ``{"status":"ready"}``, or 503 ``{"status":"waiting","reason":...,"since":...}``.

    Any other path is 404, and any method other than GET and HEAD is 405. Use as ``async with``, or call start
    and stop. ``port`` is the actual port, also if you passed 0 for a free one.
    """

    def __init__(self, registry: CollectorRegistry, readiness: Readiness, *, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._registry = registry
        self._readiness = readiness
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base address, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Start to listen. Raises SettingsError if the address cannot be used."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError as error:
            await runner.cleanup()
            reason = error.strerror or str(error)
            raise SettingsError(
                f"cannot listen on {self.host}:{self.port} for /metrics ({reason}); "
                "choose another metrics_port, or 0 for a free one"
            ) from error
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening, after up to two seconds for answers in progress."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def __aenter__(self) -> Endpoint:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = expose(self._registry, request.headers.get(ACCEPT, ""))
        response = web.Response(
            body=body, headers={"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        )
        if gzip_accepted(request.headers.get(ACCEPT_ENCODING, "")):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    async def _healthz(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        status, body = self._readiness.answer()
        return _json(body, status=status)


def _json(body: dict[str, str], status: int = 200) -> web.Response:
    return web.json_response(body, status=status, dumps=_compact, headers={"Cache-Control": "no-store"})


def _compact(body: object) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)
