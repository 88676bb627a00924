"""The published alerts, engagement.alerts.v1: each alert once, under an id that follows from its content."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from schemas.alerts import alert_id
from services.audit.recounting.differences import Difference, named
from services.audit.recounting.engine import Engine

_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what SQL can hold


class AsOf(msgspec.Struct, frozen=True):
    """A partition and the offset up to which (inclusive) it had been counted."""

    partition: _Int
    offset: _Int


class Contributor(msgspec.Struct, frozen=True):
    """A part of a figure."""

    name: str
    count: _Int


class _Alert(msgspec.Struct, tag_field="kind", frozen=True, kw_only=True):
    id: str
    rule: str
    scope: str
    subject: tuple[str, ...]
    metric: str
    occurred_at: _Int
    decided_at: int
    as_of: tuple[AsOf, ...]
    text: str
    v: Literal[1] = 1
    top_contributors: tuple[Contributor, ...] = ()
    carried_from: str | None = None  # the namespace whose log it belongs to, if it is another one

    @property
    def offsets(self) -> dict[int, int]:
        """The offset of each partition that the figures stand at."""
        return {each.partition: each.offset for each in self.as_of}


class PublishedMilestone(_Alert, tag="milestone", frozen=True, kw_only=True):
    """A milestone as published."""

    threshold: _Int
    total: _Int
    superseded_by: str | None = None
    retractions: _Int = 0

    @property
    def first_id(self) -> str:
        """The id that it would have if it had never been retracted."""
        return alert_id("milestone", self.scope, *self.subject, self.metric, self.threshold)

    @property
    def own_id(self) -> str:
        """The id that follows from its content."""
        if not self.retractions:
            return self.first_id
        return alert_id("milestone", self.scope, *self.subject, self.metric, self.threshold, self.retractions)

    @property
    def name(self) -> str:
        """Its name in a line."""
        return f"milestone {named(self.scope, self.subject, self.metric)} {self.threshold:,}"


class PublishedRetraction(_Alert, tag="retraction", frozen=True, kw_only=True):
    """The retraction of a milestone as published."""

    retracts: str
    threshold: _Int
    total: _Int

    @property
    def own_id(self) -> str:
        """The id that follows from its content."""
        return alert_id("retraction", self.retracts)

    @property
    def name(self) -> str:
        """Its name in a line."""
        return f"retraction of milestone {named(self.scope, self.subject, self.metric)} {self.threshold:,}"


class PublishedSpike(_Alert, tag="spike", frozen=True, kw_only=True):
    """A spike as published."""

    number: _Int
    observed: _Int
    baseline: float
    window_minutes: _Int
    factor: float | None

    @property
    def own_id(self) -> str:
        """The id that follows from its content."""
        return alert_id("spike", *self.subject, self.rule, self.number)

    @property
    def name(self) -> str:
        """Its name in a line."""
        return f"spike {' '.join(self.subject)} {self.rule} number {self.number}"


Published = PublishedMilestone | PublishedRetraction | PublishedSpike
_decode = msgspec.json.Decoder(Published).decode


class PublishedAlerts:
    """The alerts of an export, each once, and what is wrong with their records."""

    def __init__(self) -> None:
        self.milestones: list[PublishedMilestone] = []
        self.spikes: list[PublishedSpike] = []
        self.retractions: list[PublishedRetraction] = []
        self.differences: list[Difference] = []


def read_alerts(engine: Engine, file: Path) -> PublishedAlerts:
    """Read the alerts of a Parquet file. Of several records with one id the first is taken."""
    alerts = PublishedAlerts()
    offsets_of: dict[str, list[int]] = defaultdict(list)
    first: dict[str, Published] = {}
    for offset, key, value in engine.rows("alerts.records", file=str(file)):
        try:
            alert = _decode(value)
        except msgspec.DecodeError as error:
            text = f"alert at offset {offset}: cannot be read: {error}"
            alerts.differences.append(Difference("alert", "DIFFERS", text))
            continue
        offsets_of[alert.id].append(offset)
        if first.setdefault(alert.id, alert) is alert:
            alerts.differences += _check_id(alert, key, offset)
            match alert:
                case PublishedMilestone():
                    alerts.milestones.append(alert)
                case PublishedRetraction():
                    alerts.retractions.append(alert)
                case PublishedSpike():
                    alerts.spikes.append(alert)
    for name, offsets in offsets_of.items():
        if len(offsets) > 1:
            alerts.differences.append(_twice(first[name], offsets))
    return alerts


def _check_id(alert: Published, key: str | None, offset: int) -> list[Difference]:
    if alert.id == alert.own_id and key == alert.id:
        return []
    wrong = f"its key is {key}" if alert.id == alert.own_id else f"its id is {alert.id}"
    text = f"{alert.name}: {wrong}, but its id should be {alert.own_id} (alert at offset {offset})"
    return [Difference(_kind(alert), "DIFFERS", text, alert.scope, alert.subject, alert.metric)]


def _twice(alert: Published, offsets: list[int]) -> Difference:
    text = f"{alert.name}: decided {len(offsets)} times, at offsets {', '.join(f'{n:,}' for n in offsets)}"
    return Difference(_kind(alert), "TWICE", text, alert.scope, alert.subject, alert.metric, len(offsets), 1)


def _kind(alert: Published) -> Literal["milestone", "spike"]:
    return "spike" if isinstance(alert, PublishedSpike) else "milestone"
