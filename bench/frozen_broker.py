"""Ingest while the broker is stopped and clients keep posting: the memory it takes, and how it answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Any

import psutil

#: In the first seconds clients wait for acknowledgements; then the byte limit is reached and they get 503.
SECONDS = 15.0
CONNECTIONS, BATCH = 256, 500
#: Setting of the service under test, so that clients post again soon after a missing acknowledgement.
ACK_TIMEOUT_SECONDS = 2
_SAMPLE_SECONDS = 0.05
_DRAIN_SECONDS = 60.0
_TIMEOUT_SECONDS = 120.0


def measure(port: int, process: psutil.Process, broker: int) -> dict[str, Any]:
    """Stop the broker (its process id), post, resume the broker; the service then writes what was pending.

    Returns peak memory of the service in MB, the answers by status, and the seconds until nothing is pending.
    """
    command = [sys.executable, "-m", "bench.http_load", str(port), "--batch", str(BATCH)]
    command += ["--connections", str(CONNECTIONS), "--seconds", str(SECONDS)]
    os.kill(broker, signal.SIGSTOP)
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            peak = _peak_bytes(process, client)
            figures = json.load(client.stdout) if client.stdout else {}
    finally:
        os.kill(broker, signal.SIGCONT)
    if client.returncode:
        raise SystemExit(f"the client ended with {client.returncode}")
    drained = _drain(port)
    if unexpected := figures["statuses"].keys() - {"202", "503"}:
        raise SystemExit(f"answers while the broker was stopped: {sorted(unexpected)}")
    return {
        "seconds": SECONDS,
        "connections": CONNECTIONS,
        "batch": BATCH,
        "rss_peak_mb": round(max(peak, process.memory_info().rss) / 2**20),
        "answered_202": figures["statuses"].get("202", 0),
        "answered_503": figures["statuses"].get("503", 0),
        "drained_seconds": round(drained, 1),
    }


def _peak_bytes(process: psutil.Process, client: subprocess.Popen[str]) -> int:
    """The most memory seen while the client runs."""
    peak = 0
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while client.poll() is None:
        if time.monotonic() > deadline:
            client.kill()
            raise SystemExit("the client does not end")
        peak = max(peak, process.memory_info().rss)
        time.sleep(_SAMPLE_SECONDS)
    return peak


def _drain(port: int) -> float:
    """Seconds until every pending event is acknowledged."""
    started = time.monotonic()
    while time.monotonic() - started < _DRAIN_SECONDS:
        if _pending(port) == 0:
            return time.monotonic() - started
        time.sleep(0.1)
    raise SystemExit("pending events were not written after the broker resumed")


def _pending(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("fanpulse_ingest_pending_bytes"):
                return float(line.rpartition(" ")[2])
    raise SystemExit("the service has no metric of pending bytes")
