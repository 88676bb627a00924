"""The FastAPI application: the OpenAPI page, health, readiness and metrics.

POST /v1/events is declared here for the page; ``services.ingest.http.asgi`` answers it.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from schemas.events import SUBMISSION
from schemas.reasons import Reason
from services.ingest.http.asgi import PATH
from services.ingest.http.problems import MEDIA_TYPE, Problem
from services.runtime.metrics import expose
from services.runtime.readiness import Readiness

_DESCRIPTION = """\
Takes engagement events in. `202` means that every accepted event is in the log, acknowledged by all replicas.

Send one event, an array of events, or NDJSON; plain or with `Content-Encoding: gzip`. The good events of a
request go through; each bad one is listed with its `index`, `field` and `reason`, and kept as a dead letter.
After a `503` send the same events again, with the same `event_id`: one that was stored already counts once.
"""
_EXAMPLE = {
    "kind": "interaction",
    "event_id": "tw-1800000000000000001-like-77",
    "occurred_at": "2026-06-22T09:30:00Z",
    "platform": "twitter",
    "account": "GansuTravel",
    "action": "like",
    "post_id": "1800000000000000001",
    "broadcast_id": "fuxi-2026",
    "actor": {"id": "77", "country": "CN"},
}


def build_api(registry: CollectorRegistry, readiness: Readiness) -> FastAPI:
    """The application."""
    app = FastAPIOffline(
        title="fanpulse ingest",
        version=version("fanpulse"),
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        # A redirect would lead to whatever Host the client names.
        redirect_slashes=False,
    )
    app.add_exception_handler(HTTPException, _problem)
    _add_state(app, registry, readiness)
    _declare_events(app)
    return app


def _add_state(app: FastAPI, registry: CollectorRegistry, readiness: Readiness) -> None:
    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("docs")

    @app.get("/healthz", summary="Whether the process is alive", tags=["state"])
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz",
        summary="Whether events are taken in now",
        tags=["state"],
        responses={503: {"description": "not now; `reason` says why, `since` from when on"}},
    )
    async def readyz() -> Response:
        status, body = readiness.answer()
        return JSONResponse(body, status)

    @app.get("/metrics", summary="Metrics for Prometheus", tags=["state"], response_class=Response)
    async def metrics(request: Request) -> Response:
        body, content_type = expose(registry, request.headers.get("accept", ""))
        return Response(body, media_type=content_type, headers={"Vary": "Accept"})


def _declare_events(app: FastAPI) -> None:
    schema = SUBMISSION.json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs")

    @app.post(
        PATH, summary="Take events in", tags=["events"], status_code=202, openapi_extra=_operation(schema)
    )
    async def events() -> Response:  # never called: services.ingest.http.asgi answers
        raise HTTPException(500)

    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(definitions | _ANSWERS)
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "API key"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _operation(event: dict[str, Any]) -> dict[str, Any]:
    one_or_many = {"oneOf": [event, {"type": "array", "items": event}]}
    lines = {"type": "string", "description": "one event a line"}

    def answer(description: str, name: str, media: str = "application/json") -> dict[str, Any]:
        schema = {"$ref": f"#/components/schemas/{name}"}
        return {"description": description, "content": {media: {"schema": schema}}}

    problems = {
        "400": "The body is not JSON. It is kept as a dead letter.",
        "401": "The API key is missing or wrong.",
        "408": "The body took too long.",
        "413": "The body, packed or unpacked, is over the limit, or has too many events; or the broker takes "
        "no record of the size of one of them.",
        "415": "The media type, charset or encoding is not understood.",
        "429": "The API key sends more events a second than it may. Send again after `Retry-After` seconds.",
        "503": "The broker does not keep up, or the service starts. Send again after `Retry-After` seconds.",
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": one_or_many, "example": _EXAMPLE},
                "application/x-ndjson": {"schema": lines},
            },
        },
        "parameters": [
            {
                "name": "X-Fanpulse-Source",
                "in": "header",
                "schema": {"type": "string", "maxLength": 200},
                "description": "name of the sender, kept with dead letters",
            }
        ],
        "security": [{}, {"bearer": []}, {"key": []}],
        "responses": {
            "202": answer("All accepted events are in the log. Some may have been rejected.", "Answer"),
            "422": answer("No event was good. All are kept as dead letters.", "Answer"),
            **{status: answer(text, "Problem", MEDIA_TYPE) for status, text in problems.items()},
        },
    }


_ANSWERS: dict[str, Any] = {
    "Answer": {
        "type": "object",
        "required": ["accepted", "rejected"],
        "properties": {
            "accepted": {"type": "integer", "description": "events that are in the log"},
            "rejected": {"type": "array", "items": {"$ref": "#/components/schemas/Rejected"}},
        },
    },
    "Rejected": {
        "type": "object",
        "required": ["index", "field", "reason", "detail"],
        "properties": {
            "index": {"type": "integer", "description": "place in the request, from 0"},
            "field": {"type": "string", "description": "dotted path; empty: the event as a whole"},
            "reason": {"type": "string", "enum": [reason.value for reason in Reason]},
            "detail": {"type": "string", "description": "for people"},
        },
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "reason": {"type": "string", "enum": [reason.value for reason in Reason]},
        },
    },
}


async def _problem(request: Request, error: Exception) -> Response:
    """Errors of the framework (404, 405) as problem details."""
    assert isinstance(error, HTTPException)
    problem = Problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))
    return Response(problem.body(), problem.status, headers=problem.headers, media_type=MEDIA_TYPE)
