"""Milestones recounted: the figure where each was decided, the event that crossed it, and those missing.

A milestone's figure is a sum over hits of its series. The scopes platform and all_accounts are sums over
accounts. A reading counts as the change that it makes to the account's last one, so readings add up too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from schemas.alerts import alert_id
from schemas.hashtags import AliasTable
from services.audit.recounting.alerts import PublishedMilestone, PublishedRetraction
from services.audit.recounting.differences import Difference, in_partitions, moment, named, subject_of
from services.audit.recounting.engine import Engine
from services.audit.recounting.rules import MilestoneRule


@dataclass(frozen=True, slots=True)
class Crossing:
    """The event with which a series reached a threshold, in order of record time, then address."""

    event_id: str
    partition: int
    offset: int
    index: int
    occurred_at_ms: int
    recorded_at_ms: int


@dataclass(frozen=True, slots=True)
class Milestone:
    """A milestone as recounted. ``total`` is the published figure, None if the milestone is missing."""

    id: str
    scope: str
    subject: tuple[str, ...]
    metric: str
    threshold: int
    total: int | None
    recounted: int | None
    occurred_at_ms: int | None
    crossing: Crossing | None

    @property
    def name(self) -> str:
        """Its name in a line."""
        return f"milestone {named(self.scope, self.subject, self.metric)} {self.threshold:,}"

    @property
    def _names(self) -> tuple[str, str]:
        return ((*self.subject, "", "")[0], (*self.subject, "", "")[1])


#: A metric that begins like this is a reading, which may fall by itself.
READING_PREFIX = "reading:"
#: Scopes whose subjects belong to an account, and the statement that says to which.
_OWNED = {"post": "alerts.accounts_of_posts", "broadcast": "alerts.accounts_of_broadcasts"}
_TABLES = ("accepted", "account_hit", "subject_hit", "metric_hit", "series_hit", "crossed")
_WANTED = pa.schema(
    [("n", pa.int64()), *((name, pa.string()) for name in ("scope", "s1", "s2", "metric")),
     ("threshold", pa.int64()), ("latest", pa.bool_())]
)  # fmt: skip
_WANTED_AS_OF = pa.schema([("n", pa.int64()), ("partition", pa.int32()), ("last_offset", pa.int64())])


def expected_milestones(
    engine: Engine, rules: Iterable[MilestoneRule], aliases: AliasTable
) -> dict[str, Milestone]:
    """The milestones that the recounted figures have reached at the published positions, by id."""
    owners: dict[str, dict[tuple[str, ...], str]] = {}
    found: dict[str, Milestone] = {}
    for rule in rules:
        least = min(rule.listed, default=rule.lowest)
        figures = engine.rows("alerts.figures_reached", scope=rule.scope, metric=rule.metric, least=least)
        if figures and rule.scope in _OWNED and rule.scope not in owners:
            owners[rule.scope] = {
                tuple(names): account for *names, account in engine.rows(_OWNED[rule.scope])
            }
        for s1, s2, value in figures:
            subject = subject_of(s1, s2)
            if not rule.matches(subject, owners.get(rule.scope, {}).get(subject, ""), aliases):
                continue
            for threshold in rule.thresholds(int(value)):
                name = alert_id("milestone", rule.scope, *subject, rule.metric, threshold)
                each = Milestone(
                    name, rule.scope, subject, rule.metric, threshold, None, int(value), None, None
                )
                found.setdefault(name, each)
    return found


class MilestoneCheck:
    """Checks published milestones, and finds where missing ones were crossed.

    ``ends`` gives, per partition, the offset after the last one of the log.
    """

    def __init__(self, engine: Engine, ends: dict[int, int]) -> None:
        self._engine = engine
        self._ends = ends
        self.differences: list[Difference] = []
        self.standing_figures: list[int] = []

    def run(
        self,
        published: list[PublishedMilestone],
        missing: list[Milestone],
        standing: Sequence[tuple[PublishedMilestone | PublishedRetraction, dict[int, int]]] = (),
    ) -> list[Milestone]:
        """Every milestone with its recounted figure and its crossing; ``differences`` says what is wrong.

        ``standing``: more figures that are asked for, each at some offsets; afterwards ``standing_figures``
        has them, in the same order.
        """
        wanted = [_plain(each) for each in published] + missing + [_plain(each) for each, _ in standing]
        offsets = [each.offsets for each in published] + [{}] * len(missing) + [at for _, at in standing]
        self._load(wanted, offsets, {n for n, each in enumerate(published) if not each.retractions})
        figures = {
            n: (int(figure), newest) for n, figure, newest in self._engine.rows("alerts.at_its_offsets")
        }
        parts: dict[int, dict[str, int]] = defaultdict(dict)
        for n, part, figure in self._engine.rows("alerts.parts"):
            parts[n][part] = int(figure)
        first = len(published) + len(missing)
        self.standing_figures = [figures.get(n, (0, 0))[0] for n in range(first, len(wanted))]
        del wanted[first:]
        crossings = {n: Crossing(*rest) for n, *rest in self._engine.rows("alerts.crossings")}
        found = [replace(each, crossing=crossings.get(n)) for n, each in enumerate(wanted)]
        for n, each in enumerate(published):
            figure, newest_ms = figures.get(n, (0, 0))
            found[n] = replace(found[n], recounted=figure)
            self.differences += self._check(each, found[n], newest_ms, parts[n])
        return found

    def _load(self, wanted: list[Milestone], offsets_of: list[dict[int, int]], first: set[int]) -> None:
        """``first``: those of which the first crossing is asked for, and not the latest one."""
        rows: list[dict[str, Any]] = []
        for n, each in enumerate(wanted):
            s1, s2 = each._names
            rows.append(
                {"n": n, "scope": each.scope, "s1": s1, "s2": s2, "metric": each.metric,
                 "threshold": each.threshold, "latest": n not in first}
            )  # fmt: skip
        offsets = [
            {"n": n, "partition": partition, "last_offset": offset}
            for n, each in enumerate(offsets_of)
            for partition, offset in each.items()
        ]
        self._engine.load("wanted", rows, _WANTED)
        self._engine.load("wanted_as_of", offsets, _WANTED_AS_OF)
        for name in _TABLES:
            self._engine.run(f"alerts.{name}")

    def _check(
        self, published: PublishedMilestone, found: Milestone, newest_ms: int, parts: dict[str, int]
    ) -> Iterator[Difference]:
        recounted, total = found.recounted or 0, published.total
        beyond = [p for p, offset in published.offsets.items() if offset >= self._ends.get(p, 0)]
        if beyond:
            where = in_partitions(beyond)
            yield _differs(found, "DIFFERS", f"it stands at offsets that the log does not have {where}")
        if recounted < published.threshold:
            how = f"published {total:,}, recounted {recounted:,} ({total - recounted:+,}) at its offsets"
            yield _differs(found, "FALSE", f"not reached: {how}")
        elif total != recounted:
            how = f"published {total:,}, recounted {recounted:,} ({total - recounted:+,}) at its offsets"
            yield _differs(found, "DIFFERS", how)
        elif total < published.threshold:
            yield _differs(found, "DIFFERS", f"published total {total:,} is below the threshold")
        if newest_ms and published.occurred_at != newest_ms:
            shown = f"published time {moment(published.occurred_at)}, recounted {moment(newest_ms)}"
            yield _differs(found, "DIFFERS", shown)
        for contributor in published.top_contributors:
            figure = parts.get(contributor.name, 0)
            if contributor.count != figure:
                how = (
                    f"published {contributor.count:,}, recounted {figure:,} ({contributor.count - figure:+,})"
                )
                yield _differs(found, "DIFFERS", f"top contributor {contributor.name}: {how}")


def missing_milestone(found: Milestone) -> Difference:
    """The difference for a milestone that was reached, but not published."""
    crossing = found.crossing
    by = f" by event {crossing.event_id} at {moment(crossing.occurred_at_ms)}" if crossing else ""
    text = f"reached{by}, recounted {found.recounted or 0:,}, but never published"
    return _differs(found, "MISSING", text)


def _plain(published: PublishedMilestone | PublishedRetraction) -> Milestone:
    return Milestone(
        published.id,
        published.scope,
        published.subject,
        published.metric,
        published.threshold,
        published.total,
        None,
        published.occurred_at,
        None,
    )


def _differs(found: Milestone, word: str, text: str) -> Difference:
    return Difference(
        kind="milestone",
        word=word,
        text=f"{found.name}: {text}",
        scope=found.scope,
        subject=found.subject,
        metric=found.metric,
        published=found.total,
        recounted=found.recounted,
    )
