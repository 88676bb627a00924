"""Counts the answers of ingest, and compares them with the scenario. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fanpulse.simulate.noise import Item
from schemas.reasons import Reason

_EXAMPLES = 10


class AnswerError(ValueError):
    """The answer breaks the contract of ``POST /v1/events``."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One event whose answer differs from the scenario. ``got`` is a reason, or ``accepted``."""

    line: bytes
    expected: str
    got: str

    def __str__(self) -> str:
        start = self.line[:160].decode("utf-8", "replace")
        return f"expected {self.expected}, got {self.got}: {start}"


@dataclass
class SentCounts:
    """Counts of the final answers. An event that was sent again after a lost answer counts once."""

    sent: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    #: Requests sent again, because the answer was lost or asked for it. The log may hold their events twice.
    retries: int = 0
    mismatched: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)

    def record(self, items: Sequence[Item], answer: Any) -> None:
        """Count the answer to a request with ``items``: the JSON body of a 202 or 422.

        Raises AnswerError if it is not such a body, or does not cover every item.
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
    """The reason of each rejected index; checks that accepted and rejected add up to ``count``."""
    try:
        rejected = {int(each["index"]): str(each["reason"]) for each in answer["rejected"]}
        accepted = int(answer["accepted"])
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError(f"the answer breaks the contract: {str(answer)[:200]}") from error
    if accepted + len(rejected) != count or not all(0 <= index < count for index in rejected):
        raise AnswerError(
            f"{count} events sent, but accepted {accepted} and rejected {sorted(rejected)[:20]}"
        )
    return rejected
