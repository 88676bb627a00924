"""Events of a stack and its processes, for people and programs that watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class EventType(StrEnum):
    """What happened to a process."""

    WAITING = "waiting"  # the processes of an earlier stack still run
    STARTING = "starting"
    READY = "ready"
    EXITED = "exited"  # it ended though nobody asked it to
    HUNG = "hung"  # it is alive but does not answer, and is killed
    FAILED = "failed"  # it cannot be started
    RESTARTING = "restarting"
    ABSENT = "absent"  # it is optional and not installed
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StackEvent:
    """Something happened to a service. `text` gives people the details."""

    event_type: EventType
    service: str
    text: str = ""
    pid: int | None = None


OnEvent = Callable[[StackEvent], None]
