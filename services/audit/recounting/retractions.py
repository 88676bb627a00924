"""Retractions recounted: which milestones no longer hold since events were voided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.audit.recounting.alerts import PublishedAlerts, PublishedMilestone, PublishedRetraction
from services.audit.recounting.differences import Difference
from services.audit.recounting.milestones import READING_PREFIX

#: A published alert, and the offsets at which its figure is asked for.
Asked = tuple[PublishedMilestone | PublishedRetraction, dict[int, int]]


class RetractionCheck:
    """Checks the published retractions, and finds milestones that should have been retracted.

    Ask for the figures of ``asked``, then ``check`` them.
    """

    def __init__(self, published: PublishedAlerts, checkpoints: dict[int, int], voided: int) -> None:
        """``voided``: how many events are; without any, nothing is asked for but what was published."""
        self._milestones = {each.id: each for each in published.milestones}
        self._retracted = {each.retracts for each in published.retractions}
        self._retractions = [each for each in published.retractions if each.carried_from is None]
        self._held = [each for each in published.milestones if voided and self._may_fall(each)]
        self.asked: list[Asked] = [(each, each.offsets) for each in self._retractions]
        self.asked += [(each, checkpoints) for each in self._held]

    def _may_fall(self, each: PublishedMilestone) -> bool:
        readings = each.metric.startswith(READING_PREFIX)
        return each.carried_from is None and each.id not in self._retracted and not readings

    def holding(self) -> set[str]:
        """The first ids of the milestones that have not been retracted."""
        return {each.first_id for each in self._milestones.values() if each.id not in self._retracted}

    def check(self, figures: Sequence[int]) -> Iterator[Difference]:
        """What is wrong with the retractions, and milestones that were decided again without one."""
        for each, figure in zip(self._retractions, figures, strict=False):
            yield from self._check(each, figure)
        for milestone in self._milestones.values():
            before = milestone.retractions - 1
            if before >= 0 and not any(
                other.first_id == milestone.first_id and other.retractions == before
                and other.id in self._retracted
                for other in self._milestones.values()
            ):  # fmt: skip
                yield _differs(milestone, "FALSE", "decided again, though it was not retracted")

    def unretracted(self, figures: Sequence[int]) -> Iterator[Difference]:
        """Milestones that no longer hold, and have no retraction."""
        for each, figure in zip(self._held, figures[len(self._retractions) :], strict=True):
            if figure < each.threshold:
                text = f"no longer reached since events were voided (recounted {figure:,}), but not retracted"
                yield _differs(each, "MISSING", text, figure)

    def _check(self, each: PublishedRetraction, figure: int) -> Iterator[Difference]:
        milestone = self._milestones.get(each.retracts)
        if milestone is None:
            yield _differs(each, "FALSE", "there is no such milestone", figure)
            return
        if each.total != figure:
            text = f"published {each.total:,}, recounted {figure:,} ({each.total - figure:+,}) at its offsets"
            yield _differs(each, "DIFFERS", text, figure)
        if figure >= each.threshold and milestone.superseded_by not in self._retracted:
            yield _differs(each, "FALSE", f"it is reached: recounted {figure:,} at its offsets", figure)


def _differs(
    each: PublishedMilestone | PublishedRetraction, word: str, text: str, recounted: int | None = None
) -> Difference:
    return Difference(
        "milestone",
        word,
        f"{each.name}: {text}",
        each.scope,
        each.subject,
        each.metric,
        each.total,
        recounted,
    )
