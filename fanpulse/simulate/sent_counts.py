"""What ingest answered, counted, and held against what the scenario expects. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fanpulse.simulate.noise import Item
from schemas.reasons import Reason

_EXAMPLES = 10


class AnswerError(ValueError):
    """The answer is not what the contract of ``POST /v1/events`` promises."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One event that ingest judged otherwise than the scenario. ``got`` is a reason, or ``accepted``."""

    line: bytes
    expected: str
    got: str

    def __str__(self) -> str:
        start = self.line[:160].decode("utf-8", "replace")
        return f"expected {self.expected}, got {self.got}: {start}"


@dataclass
class SentCounts:
    """Counts over the final answers: an event that was sent again after a lost answer counts once."""

    sent: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    #: Requests sent again, since the answer was lost or said to; their events may be in the log twice.
    retries: int = 0
    mismatched: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)

    def record(self, items: Sequence[Item], answer: Any) -> None:
        """Take in the answer to a request of ``items``: the JSON body of a 202 or 422.

        Raises AnswerError if it is not such a body, or does not account for every item.
        """
        rejected = _rejections(answer, len(items))
        self.sent += len(items)
        self.accepted += len(items) - len(rejected)
        self.rejected.update(rejected.values())
        for index, item in enumerate(items):
            wanted = str(item.expected) if isinstance(item.expected, Reason) else "accepted"
            got = rejected.get(index, "accepted")
            if got != wanted:
                self.mismatched += 1
                if len(self.mismatches) < _EXAMPLES:
                    self.mismatches.append(Mismatch(item.line, wanted, got))


def _rejections(answer: Any, count: int) -> dict[int, str]:
    """Reason by index; checks that accepted and rejected make ``count``."""
    try:
        rejected = {int(each["index"]): str(each["reason"]) for each in answer["rejected"]}
        accepted = int(answer["accepted"])
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError(f"no answer of the contract: {str(answer)[:200]}") from error
    if accepted + len(rejected) != count or not all(0 <= index < count for index in rejected):
        raise AnswerError(
            f"{count} events sent, but accepted {accepted} and rejected {sorted(rejected)[:20]}"
        )
    return rejected
