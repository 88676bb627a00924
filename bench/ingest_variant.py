"""Ingest without one of its detours: ``python -m bench.ingest_variant NAME`` runs it as a process.

A detour is code that a plain implementation would not have. ``bench.ingest_detours`` measures what each
earns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request, Response

from fanpulse.cli import main as command_line
from services.ingest import service
from services.ingest.http import api, asgi


def no_micro_batcher() -> None:
    """Each request of one event goes to the publisher by itself."""
    vars(asgi)["MAX_BYTES"] = -1


def fastapi_route() -> None:
    """POST /v1/events is an ordinary route of FastAPI, with the same handling behind it."""
    inside = asgi.IngestApp.__call__
    served: list[asgi.IngestApp] = []

    async def events(request: Request) -> Response:
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await inside(served[0], request.scope, request.receive, send)
        head, body = sent
        names = {name.decode(): value.decode() for name, value in head["headers"]}
        return Response(body["body"], head["status"], headers=names)

    build = api.build_api

    def build_api(*arguments: Any) -> FastAPI:
        app = build(*arguments)
        app.router.routes[:] = [each for each in app.router.routes if getattr(each, "path", "") != asgi.PATH]
        app.add_api_route(asgi.PATH, events, methods=["POST"], response_class=Response)
        return app

    async def call(self: asgi.IngestApp, scope: Any, receive: Any, send: Any) -> None:
        if not served:
            served.append(self)
        await self._rest(scope, receive, send)

    vars(service)["build_api"] = build_api
    asgi.IngestApp.__call__ = call  # type: ignore[method-assign]


def as_it_is() -> None:
    """Nothing is left out."""


VARIANTS: dict[str, Callable[[], None]] = {
    "as it is": as_it_is,
    "no micro-batcher": no_micro_batcher,
    "a FastAPI route": fastapi_route,
}


def main() -> None:
    """Leave something out and run the service."""
    VARIANTS[sys.argv[1]]()
    sys.argv[1:] = ["serve", "ingest"]
    command_line()


if __name__ == "__main__":
    main()
