"""The outcome of a demo run, and whether it is the expected one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from fanpulse.simulate.scenario import Expectation
from fanpulse.simulate.sent_counts import SentCounts

#: How many differences of the audit are listed.
_DIFFERENCES = 10


class AuditedDifference(Protocol):
    """One difference that the audit found."""

    @property
    def line(self) -> str:
        """The difference in one line."""


class AuditedSpike(Protocol):
    """The part of a spike that is needed here."""

    @property
    def start_ms(self) -> int:
        """Start of the minute."""

    @property
    def observed(self) -> int:
        """Count of the minute."""

    @property
    def baseline(self) -> float:
        """Median of the minutes before."""


class Audited(Protocol):
    """The part of an audit's result that is needed here."""

    @property
    def verdict(self) -> str:
        """The verdict in words."""

    @property
    def exact(self) -> bool:
        """Whether every published figure is exactly right."""

    @property
    def events(self) -> int:
        """Events in the log, duplicates included."""

    @property
    def counted(self) -> int:
        """Events that are counted."""

    @property
    def differences(self) -> Sequence[AuditedDifference]:
        """All differences."""

    @property
    def notes(self) -> Sequence[str]:
        """Remarks."""

    @property
    def milestones(self) -> Sequence[object]:
        """All milestones."""

    @property
    def spikes(self) -> Sequence[AuditedSpike]:
        """All spikes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of a demo run. ``problems`` has one line per problem; it is empty if all is right."""

    sent: int
    accepted: int
    rejected: dict[str, int]
    duplicates: int
    counted: int
    milestones: int
    spikes: int
    exact: bool
    seconds: float
    verdict: str
    #: Further copies of events in the log, sent again because their answer was lost.
    resent: int
    retries: int
    #: Each spike as text: its time, and how many times the median it was.
    moments: tuple[str, ...]
    #: Remarks of the audit that are not problems.
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether the audit agrees and every figure is that of the scenario."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "sent": self.sent,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            "counted": self.counted,
            "milestones": self.milestones,
            "spikes": self.spikes,
            "exact": self.exact,
            "seconds": round(self.seconds, 1),
            "verdict": self.verdict,
            "good": self.good,
            "problems": list(self.problems),
            "notes": list(self.notes),
            "resent": self.resent,
            "retries": self.retries,
        }


def compare(expected: Expectation, sent_counts: SentCounts, audited: Audited, seconds: float) -> Outcome:
    """Compare the answers and the audit with the scenario.

    If the answer to an event was lost, the event was sent again and may be in the log twice. ``accepted``
    counts it once, by its final answer. So the log may have more events than ``accepted``; the surplus is
    ``resent``, and is not among the scenario's ``duplicates``.
    """
    resent = audited.events - sent_counts.accepted
    duplicates = sent_counts.accepted - audited.counted
    return Outcome(
        sent=sent_counts.sent,
        accepted=sent_counts.accepted,
        rejected=dict(sorted(sent_counts.rejected.items())),
        duplicates=duplicates,
        counted=audited.counted,
        milestones=len(audited.milestones),
        spikes=len(audited.spikes),
        exact=audited.exact,
        seconds=seconds,
        verdict=audited.verdict,
        resent=resent,
        retries=sent_counts.retries,
        moments=tuple(map(_moment, audited.spikes)),
        notes=tuple(audited.notes),
        problems=tuple(_problems(expected, sent_counts, audited, duplicates, resent)),
    )


def _more(differences: int) -> str:
    return f"; the first {_DIFFERENCES} of {differences:,} differences:" if differences > _DIFFERENCES else ""


def _moment(spike: AuditedSpike) -> str:
    at = datetime.fromtimestamp(spike.start_ms / 1000, UTC)
    return f"{at:%H:%M} {spike.observed / spike.baseline:.1f}x" if spike.baseline else f"{at:%H:%M}"


def _problems(
    expected: Expectation, sent_counts: SentCounts, audited: Audited, duplicates: int, resent: int
) -> list[str]:
    problems = []
    if not audited.exact:
        problems.append(f"the audit's verdict is {audited.verdict}{_more(len(audited.differences))}")
        problems += [difference.line for difference in audited.differences[:_DIFFERENCES]]
    for name, got, wanted in (
        ("sent", sent_counts.sent, expected.sent),
        ("accepted", sent_counts.accepted, expected.accepted),
        ("duplicates", duplicates, expected.duplicates),
        ("counted", audited.counted, expected.counted),
    ):
        if got != wanted:
            problems.append(f"{name} is {got:,}, but the scenario has {wanted:,}")
    for reason in sorted(expected.rejected.keys() | sent_counts.rejected.keys()):
        got, wanted = sent_counts.rejected.get(reason, 0), expected.rejected.get(reason, 0)
        if got != wanted:
            problems.append(f"rejected as {reason} is {got:,}, but the scenario has {wanted:,}")
    if sent_counts.mismatched:
        problems.append(
            f"{sent_counts.mismatched:,} events got another answer, such as: {sent_counts.mismatches[0]}"
        )
    if resent < 0:
        problems.append(f"the log lacks {-resent:,} of the events that were acknowledged")
    if resent > 0 and not sent_counts.retries:
        problems.append(f"the log has {resent:,} more events than were acknowledged, but none was resent")
    return problems
