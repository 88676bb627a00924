"""What happens to a stack, for people and programs that watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class EventType(StrEnum):
    """Kinds of events."""

    WAITING = "waiting"  # for the processes of an earlier stack to end
    STARTING = "starting"
    READY = "ready"
    EXITED = "exited"  # without being asked to
    HUNG = "hung"  # alive but silent; it is killed
    FAILED = "failed"  # it cannot be started
    RESTARTING = "restarting"
    ABSENT = "absent"  # an optional part that is not installed
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StackEvent:
    """Something happened to a service of the stack; `text` says more, for people."""

    event_type: EventType
    service: str
    text: str = ""
    pid: int | None = None


OnEvent = Callable[[StackEvent], None]
