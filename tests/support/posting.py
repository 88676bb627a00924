"""Clients that post events to ingest from threads, and record the answers."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self


def interaction(event_id: str, **changes: Any) -> dict[str, Any]:
    """A valid event that happens now."""
    return {
        "kind": "interaction", "event_id": event_id, "occurred_at": time.time_ns() // 1_000_000,
        "platform": "twitter", "account": "GansuTravel", "action": "like", **changes,
    }  # fmt: skip


def post(port: int, body: bytes | Any, **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of the answer to one request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/v1/events", content, {"content-type": "application/json", **named})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


class Posters:
    """Several clients. Each posts one batch after another until the end of the `with` block."""

    def __init__(self, port: int, *, clients: int, batch: int, padding: int = 0) -> None:
        self._port = port
        self._batch = batch
        self._padding = "x" * padding
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(clients)]
        self._lock = threading.Lock()
        #: Ids of events whose request was answered 202.
        self.acknowledged: set[str] = set()
        #: Ids of all events that were sent.
        self.sent: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.retry_after: set[str | None] = set()

    def _run(self, client: int) -> None:
        number = 0
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._stop.is_set():
            ids = [f"{client}-{number}-{n}" for n in range(self._batch)]
            number += 1
            events = [interaction(each, campaign=self._padding or None) for each in ids]
            with self._lock:
                self.sent.update(ids)
            try:
                connection.request(
                    "POST", "/v1/events", json.dumps(events), {"content-type": "application/json"}
                )
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self._stop.wait(0.05)
                continue
            with self._lock:
                self.statuses[answer.status] += 1
                if answer.status == 202:
                    self.acknowledged.update(ids)
                else:
                    self.retry_after.add(answer.getheader("retry-after"))
            if answer.status != 202:
                self._stop.wait(0.02)
        connection.close()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
