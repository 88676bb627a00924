"""Free ports."""

from __future__ import annotations

import socket

#: Given out before: who has one may not listen on it yet.
_given: set[int] = set()


def free_port() -> int:
    """A port that was free a moment ago; each call gives another."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port
