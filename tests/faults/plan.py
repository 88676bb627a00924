"""What is done to the aggregator in a run: faults drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

#: kind of fault -> the points of tests.faults.failpoints at which it may strike.
POINTS: dict[str, tuple[str, ...]] = {
    "kill in a flush": ("flush.begin", "flush.begun", "flush.sent"),
    "kill in a commit": ("commit.offsets", "commit.half", "commit.done"),
    "kill between fence and load": ("fence.done", "load.begin"),
    "kill in a rebalance": ("revoke.begin", "revoke.flushed", "assign.begin"),
    "kill in the dedup rebuild": ("rebuild.warm_up", "rebuild.load"),
    "kill at any moment": ("anywhere",),
    "pause past the session": ("flush.begin", "flush.sent", "commit.offsets", "load.entries", "anywhere"),
    "broker stopped": (),
    "broker killed": (),
}
KILLS = tuple(kind for kind in POINTS if kind.startswith("kill"))
PAUSE, BROKER_STOP, BROKER_KILL = "pause past the session", "broker stopped", "broker killed"
ORDINARY = (*KILLS, PAUSE)
#: One seed in so many has a broker that is stopped and killed.
BROKER_SEEDS = 10


@dataclass(frozen=True)
class Order:
    """Strike when a point is passed for the n-th time, or so many milliseconds after that."""

    point: str
    nth: int = 1
    delay_ms: float = 0.0
    signal: str = "SIGKILL"


@dataclass(frozen=True)
class Fault:
    """One fault. ``victim`` chooses among the workers; ``at_end``: the log ends while a worker is paused."""

    kind: str
    order: Order | None = None
    victim: int = 0
    pause_seconds: float = 0.0
    at_end: bool = False

    def __str__(self) -> str:
        where = f" at {self.order.point} {self.order.nth}" if self.order else ""
        return f"{self.kind}{where}{' (the log ends meanwhile)' if self.at_end else ''}"


@dataclass(frozen=True)
class FaultPlan:
    """A run: its log is drawn from the seed too."""

    seed: int
    workers: int
    faults: tuple[Fault, ...]

    @property
    def with_broker(self) -> bool:
        """Whether the broker is a victim, which then is one of its own."""
        return any(fault.order is None for fault in self.faults)

    def __str__(self) -> str:
        return f"{self.workers} worker{'s' * (self.workers > 1)}: {', '.join(map(str, self.faults))}"


def draw_plan(seed: int) -> FaultPlan:
    """The plan of a seed: three to five faults, one or two workers."""
    draw = random.Random(f"plan {seed}")
    workers = draw.choice((1, 2))
    if seed % BROKER_SEEDS == 0:
        kinds = [draw.choice(KILLS), BROKER_STOP, draw.choice(KILLS), BROKER_KILL, draw.choice(ORDINARY)]
    else:
        kinds = draw.sample(ORDINARY, draw.randrange(3, 6))
    last = len(kinds) - 1
    return FaultPlan(
        seed, workers, tuple(draw_fault(draw, kind, at == last) for at, kind in enumerate(kinds))
    )


def draw_fault(draw: random.Random, kind: str, is_last: bool = False) -> Fault:
    """A fault of a kind."""
    if not POINTS[kind]:
        return Fault(kind)
    point = draw.choice(POINTS[kind])
    # Points of a start are passed once for each partition, those of a flush at every flush.
    nth = draw.randrange(1, 40) if point.startswith("rebuild") else 1
    if point.startswith(("flush", "commit")):
        nth = draw.randrange(1, 6)
    order = Order(
        point,
        nth,
        delay_ms=draw.uniform(0, 4) if point == "commit.half" else draw.uniform(0, 300),
        signal="SIGSTOP" if kind == PAUSE else "SIGKILL",
    )
    return Fault(kind, order, draw.randrange(100), draw.uniform(0, 0.5), kind == PAUSE and is_last)
