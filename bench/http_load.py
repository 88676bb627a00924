"""An HTTP client that only posts: ``python -m bench.http_load PORT ...`` prints figures as JSON.

One process, one thread, kept-alive connections to 127.0.0.1, each with one request under way, bounded in
time. With ``--rate`` requests are due at fixed times, and latency is taken from the time when one was due,
so that a stall is not hidden by the requests that it kept from being sent.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.events import interactions

_HEAD = (
    b"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
)
_SILENCE_SECONDS = 60.0


@dataclass
class Load:
    """What was sent and answered. Latencies in seconds."""

    sent: int = 0
    answered: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    due: float = 0.0
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytes = b""


def bodies(batch: int, distinct: int, seed: int) -> list[bytes]:
    """`distinct` request bodies of `batch` events each; a single event is sent as an object."""
    events = interactions(batch * distinct, seed)
    if batch == 1:
        return events
    return [b"[" + b",".join(events[at : at + batch]) + b"]" for at in range(0, len(events), batch)]


def run(port: int, requests: list[bytes], *, connections: int, seconds: float, rate: float | None) -> Load:
    """Post the bodies one after the other, over and over, for this many seconds."""
    load = Load()
    selector = selectors.DefaultSelector()
    supply = _supply(requests)
    idle: list[_Connection] = []
    for _ in range(connections):
        connection = _Connection(socket.create_connection(("127.0.0.1", port), timeout=10))
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.setblocking(False)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        idle.append(connection)
    start = time.perf_counter()
    due = start
    deadline = start + seconds
    while True:
        now = time.perf_counter()
        while idle and now < deadline and (rate is None or due <= now):
            connection = idle.pop()
            connection.due = now if rate is None else due
            connection.unsent = memoryview(next(supply))
            load.sent += 1
            _write(connection, selector)
            if rate is not None:
                due += 1 / rate
        if len(idle) == connections and now >= deadline:
            break
        if now > deadline + _SILENCE_SECONDS:
            raise SystemExit("the service does not answer")
        wait = 0.5 if rate is None or not idle else max(0.0, min(due, deadline) - now)
        for key, events in selector.select(wait):
            if events & selectors.EVENT_WRITE:
                _write(key.data, selector)
            if events & selectors.EVENT_READ and _read(key.data, load):
                idle.append(key.data)
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    return load


def _supply(requests: list[bytes]) -> Iterator[bytes]:
    whole = [_HEAD % len(body) + body for body in requests]
    while True:
        yield from whole


def _write(connection: _Connection, selector: selectors.BaseSelector) -> None:
    try:
        sent = connection.socket.send(connection.unsent)
    except BlockingIOError:
        sent = 0
    had = len(connection.unsent)
    connection.unsent = connection.unsent[sent:]
    if connection.unsent or had > sent:
        selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
    elif selector.get_key(connection.socket).events & selectors.EVENT_WRITE:
        selector.modify(connection.socket, selectors.EVENT_READ, connection)


def _read(connection: _Connection, load: Load) -> bool:
    """Whether an answer is complete."""
    connection.received += connection.socket.recv(65536)
    head, found, rest = connection.received.partition(b"\r\n\r\n")
    if not connection.received:
        raise SystemExit("the service closed a connection")
    if not found:
        return False
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    if len(rest) < length:
        return False
    connection.received = b""
    status = head[9:12].decode()
    load.answered += 1
    load.statuses[status] = load.statuses.get(status, 0) + 1
    load.latencies.append(time.perf_counter() - connection.due)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.http_load", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--batch", type=int, default=1, help="events in a request")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, help="requests a second; without it as fast as answers come")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--distinct", type=int, default=100_000, help="distinct events")
    arguments = parser.parse_args()
    distinct = max(1, arguments.distinct // arguments.batch)
    requests = bodies(arguments.batch, distinct, arguments.seed)
    started = time.perf_counter()
    cpu = time.process_time()
    load = run(
        arguments.port,
        requests,
        connections=arguments.connections,
        seconds=arguments.seconds,
        rate=arguments.rate,
    )
    seconds = time.perf_counter() - started
    latencies = sorted(load.latencies)
    print(
        json.dumps(
            {
                "requests": load.answered,
                "statuses": load.statuses,
                "seconds": seconds,
                "cpu_seconds": time.process_time() - cpu,
                "bytes": sum(map(len, requests[: load.answered % len(requests)]))
                + sum(map(len, requests)) * (load.answered // len(requests)),
                "p50_ms": _percentile(latencies, 0.50) * 1000,
                "p99_ms": _percentile(latencies, 0.99) * 1000,
            }
        )
    )


def _percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


if __name__ == "__main__":
    main()
