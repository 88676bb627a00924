"""The link between `up --detach` and its supervisor. Both ends run here, over a real socket pair."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fanpulse.devstack.detach import DetachError, Link, follow
from services.supervise.events import EventType, StackEvent


class Recorder:
    """Collects events and the calls of a Progress."""

    def __init__(self) -> None:
        self.events: list[StackEvent] = []
        self.progress: list[tuple[str, int]] = []

    def start(self, total_bytes: int) -> None:
        self.progress.append(("start", total_bytes))

    def advance(self, count: int) -> None:
        self.progress.append(("advance", count))

    def stop(self) -> None:
        self.progress.append(("stop", 0))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Link]]:
    """The command's socket and the supervisor's link."""
    ours, theirs = socket.socketpair()
    link = Link(theirs.detach())
    with ours:
        yield ours, link
        link.close()


def test_the_command_sees_what_the_supervisor_sends(ends: tuple[socket.socket, Link]) -> None:
    """Events and download progress arrive unchanged and in order, and the status ends the conversation."""
    ours, link = ends
    sent = [
        StackEvent(EventType.STARTING, "kafka", pid=12),
        StackEvent(EventType.FAILED, "ingest", "port 80 is taken"),
    ]
    link.event(sent[0])
    link.start(100)
    link.advance(40)
    link.stop()
    link.event(sent[1])
    link.ready({"ingest": []})
    recorder = Recorder()
    assert follow(ours, recorder.events.append, recorder) == {"ingest": []}
    assert recorder.events == sent
    assert recorder.progress == [("start", 100), ("advance", 40), ("stop", 0)]


def test_a_failed_start_reaches_the_command(ends: tuple[socket.socket, Link]) -> None:
    """The reason and the exit code are those that the supervisor gives."""
    ours, link = ends
    link.failed("the stack is already running", 4)
    with pytest.raises(DetachError, match="already running") as caught:
        follow(ours, lambda _: None, Recorder())
    assert caught.value.code == 4


def test_a_supervisor_that_dies_ends_the_conversation(ends: tuple[socket.socket, Link]) -> None:
    """The command does not wait for a status that cannot come any more."""
    ours, link = ends
    link.close()
    assert follow(ours, lambda _: None, Recorder()) is None
