"""A well-behaved client beside hostile ones: ``python -m bench --only unfair``.

The real service as a process of its own, an embedded broker, and two clients; all share this machine's
cores. The well-behaved client posts single events at a fixed rate. Its latency is measured alone, and then
beside each kind of hostile client, which is a process of its own, bounded in connections and time, and knows
127.0.0.1 alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from bench.events import posts
from bench.ingest import Configuration, load, post, service
from fanpulse.devstack.kafka import EmbeddedKafka
from services.runtime.kafka import create_topics
from services.runtime.settings import KafkaSettings, Settings

#: What the 99th percentile of the well-behaved client may be, on two cores that do nothing else.
GOAL_P99_MS = 100.0
RATE, CONNECTIONS, HOSTILE_CONNECTIONS = 100.0, 32, 8
MAX_BODY_BYTES = 8 * 2**20
_WELL_BEHAVED = Configuration("well-behaved", batch=1, connections=CONNECTIONS, baseline_batch=1)
_HEAD = b"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
_EVENT = (
    b'{"kind":"interaction","event_id":"u","occurred_at":1782120600000,"platform":"twitter",'
    b'"account":"GansuTravel","action":"%s"}'
)
_GOOD, _BAD = _EVENT % b"like", _EVENT % b"nothing"


def _request(body: bytes, headers: bytes = b"") -> bytes:
    return _HEAD + headers + b"content-length: %d\r\n\r\n" % len(body) + body


def _array(*members: bytes) -> bytes:
    return b"[" + b",".join(members) + b"]"


def _invalid_gzip() -> bytes:
    return _request(gzip.compress(_array(*[_BAD] * 20_000)), b"content-encoding: gzip\r\n")


def _bomb() -> bytes:
    return _request(gzip.compress(b"[" + b" " * 64 * 2**20), b"content-encoding: gzip\r\n")


def _many_members() -> bytes:
    return _request(_array(_GOOD[:-1] + b',"x":' + _array(*[b"{}"] * 2_000_000) + b"}"))


#: What each hostile client sends over and over, on each of its connections.
REQUESTS: dict[str, Callable[[], bytes]] = {
    "20,000 invalid events, gzip": _invalid_gzip,
    "20,000 invalid lines": lambda: _request(b"\n".join([_BAD] * 20_000)),
    "20,000 good events, one bad": lambda: _request(_array(*[_GOOD] * 19_999, _BAD)),
    "millions of tiny members": lambda: _request(_array(*[b"0"] * 1_500_000)),
    "one event with many members": _many_members,
    "deep nesting": lambda: _request(b"[" * (MAX_BODY_BYTES - 1)),
    "a list of hashtags": lambda: _request(_GOOD[:-1] + b',"hashtags":' + _array(*[b'"a"'] * 60_000) + b"}"),
    "gzip bomb": _bomb,
    "pipelined requests": lambda: b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n" * 2000,
}
#: What each sends once, and then no more.
BEGUN: dict[str, Callable[[], bytes]] = {
    "idle, 8 MiB announced": lambda: _HEAD + b"content-length: %d\r\n\r\n[" % MAX_BODY_BYTES,
    "idle, 8 MiB but one byte sent": lambda: (
        _HEAD + b"content-length: %d\r\n\r\n" % MAX_BODY_BYTES + b" " * (MAX_BODY_BYTES - 1)
    ),
    "headers without end": lambda: b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2_000_000,
    "a header without end": lambda: b"GET / HTTP/1.1\r\na: " + b"b" * 8 * 2**20,
}


def attack(port: int, name: str, seconds: float) -> None:
    """Be the hostile client of this name for so long."""
    again = name in REQUESTS
    data = (REQUESTS[name] if again else BEGUN[name])()
    deadline = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_connection, args=(port, data, again, deadline), daemon=True)
        for _ in range(HOSTILE_CONNECTIONS)
    ]
    for each in threads:
        each.start()
    print("started", flush=True)
    time.sleep(seconds)


def _connection(port: int, data: bytes, again: bool, deadline: float) -> None:
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(data)
                connection.recv(65536)
                while not again and time.monotonic() < deadline and connection.recv(65536):
                    pass
        except OSError:
            pass  # the service may end it at any time
        time.sleep(0.05)  # this is no test of how fast connections are made


async def run(seconds: float) -> dict[str, Any]:
    """Latencies of the well-behaved client in milliseconds: alone, and beside each hostile one."""
    with tempfile.TemporaryDirectory(prefix="fanpulse-bench-") as name:
        folder = Path(name)
        async with EmbeddedKafka(folder / "kafka") as kafka:
            settings = Settings(
                namespace="bench", state_dir=folder, kafka=KafkaSettings(bootstrap=kafka.bootstrap)
            )
            await create_topics(settings)
            return await asyncio.to_thread(_measure, settings, seconds)


def _measure(settings: Settings, seconds: float) -> dict[str, Any]:
    rows: dict[str, dict[str, float]] = {}
    with service(settings) as (port, process):
        post(port, posts())
        rows["nobody"] = _beside(None, port, process, seconds)
        for name in (*REQUESTS, *BEGUN):
            rows[name] = _beside(name, port, process, seconds)
    return {
        "seconds": seconds,
        "rate": RATE,
        "connections": HOSTILE_CONNECTIONS,
        "goal_p99_ms": GOAL_P99_MS,
        "beside": rows,
    }


def _beside(name: str | None, port: int, process: psutil.Process, seconds: float) -> dict[str, float]:
    hostile = None
    if name is not None:
        command = [sys.executable, "-m", "bench.unfair", str(port), name, "--seconds", str(seconds + 5)]
        hostile = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert hostile.stdout is not None
        hostile.stdout.readline()
    try:
        figures = load(_WELL_BEHAVED, port, seconds, RATE, 1, distinct=1000)
    finally:
        if hostile is not None:
            hostile.terminate()
            hostile.wait(30)
    row = {
        "p50_ms": figures["p50_ms"],
        "p99_ms": figures["p99_ms"],
        "rss_mb": process.memory_info().rss / 2**20,
    }
    print(
        f"  beside {name or 'nobody'}: p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms "
        f"({row['p99_ms'] / GOAL_P99_MS:.2f} of the goal), {row['rss_mb']:.0f} MB",
        file=sys.stderr,
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.unfair", description="one hostile client, for a time")
    parser.add_argument("port", type=int)
    parser.add_argument("name", choices=[*REQUESTS, *BEGUN])
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    attack(arguments.port, arguments.name, arguments.seconds)


if __name__ == "__main__":
    main()
