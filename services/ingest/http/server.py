"""The HTTP server: uvicorn, stopped by the service and not by signals."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.middleware.cors import CORSMiddleware

from services.ingest.http.asgi import App
from services.ingest.http.connections import Protocol
from services.runtime.settings import SettingsError

#: Answers under way at a stop get so long to finish.
ANSWER_SECONDS = 5
#: An idle connection is kept longer than usual proxies keep theirs, so that it is they who close it.
KEEP_ALIVE_SECONDS = 75
#: More connections than this are answered 503 at once.
MOST_CONNECTIONS = 4096
_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError if the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another "
            "FANPULSE_INGEST_PORT, or 0 for a free one"
        ) from error


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


#: What a page of another origin may send with its events.
_CORS_HEADERS = ("authorization", "content-encoding", "content-type", "x-api-key", "x-fanpulse-source")


def with_origins(app: App, origins: Sequence[str]) -> App:
    """The application for pages of these origins too; as it is if there are none.

    Without it a browser shows no answer of ours to a page of another origin, and sends no JSON for it.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=_CORS_HEADERS,
        expose_headers=("retry-after",),
    )


def make_server(app: App) -> uvicorn.Server:
    """A server for the application; ``serve`` runs it and ``should_exit`` ends it."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="none",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=ANSWER_SECONDS,
        limit_concurrency=MOST_CONNECTIONS,
        backlog=_BACKLOG,
    )
    return _Server(config)
