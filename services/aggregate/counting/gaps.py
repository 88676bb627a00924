"""Records of the log that were removed before they were counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets ``begin`` up to, but without, ``end``: they were removed before they were counted."""

    begin: int
    end: int
    noticed_at: int  # epoch milliseconds

    @property
    def records(self) -> int:
        """How many are missing."""
        return self.end - self.begin


def gap_before(following: int, log_begin: int, noticed_at: int) -> Gap | None:
    """The gap in front of a partition whose next record should be at offset ``following``, if there is one.

    ``log_begin`` is the first offset that the log has now.
    """
    return Gap(following, log_begin, noticed_at) if log_begin > following else None
