"""Free ports."""

from __future__ import annotations

import socket

#: Ports already given out; their users may not listen on them yet.
_given: set[int] = set()


def free_port() -> int:
    """A port that is free at the moment. Each call gives another port."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port
