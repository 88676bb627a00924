"""Addresses and free ports on this machine."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"
# Below the ephemeral ports of Linux, macOS and Windows, so that no outgoing connection takes a remembered
# port by chance between two starts.
RANGE = (20_000, 30_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def reachable(host: str) -> str:
    """The host to connect to when a server listens on `host`."""
    if host in ("0.0.0.0", ""):  # noqa: S104 - it is compared, not listened on
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def free_ports(count: int) -> list[int]:
    """`count` different free ports, which nothing remembers."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(new_port(ports))
    return sorted(ports)


def new_port(avoid: set[int]) -> int:
    """A free port that is not in `avoid`."""
    while True:
        port = random.randrange(*RANGE)  # noqa: S311 - not a secret
        if port not in avoid and is_free(port):
            return port
