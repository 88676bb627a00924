"""engagement.alerts.v1: milestones and spikes, each once under its id."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.dimensions import ALERT_SCOPES

if TYPE_CHECKING:
    AlertScope = str
else:
    AlertScope = Literal[ALERT_SCOPES]  # one member for each scope of the table


class AsOf(BaseModel):
    """The source offset up to which (inclusive) a partition had been counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: int
    offset: int


class Contributor(BaseModel):
    """One of the parts that add up to the figure: e.g. action repost, 1,204 of 10,003."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="what it is: an action, or an account for sums over accounts")
    count: int


class Alert(BaseModel):
    """The fields that milestones and spikes share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(description="hash of what identifies the alert; the key of the record")
    v: Literal[1] = 1
    rule: str = Field(description="name of the rule")
    scope: AlertScope
    subject: tuple[str, ...] = Field(description="names within the scope, e.g. (platform, account)")
    metric: str = Field(description="an action, `interactions`, or `reading:<metric>`")
    occurred_at: int = Field(description="event time in epoch milliseconds")
    decided_at: int = Field(
        description="wall clock of the decision in epoch milliseconds; not part of the id"
    )
    top_contributors: tuple[Contributor, ...] = ()
    as_of: tuple[AsOf, ...] = Field(description="the state of the log that the figures belong to")
    text: str = Field(description="one sentence for people")
    carried_from: str | None = Field(
        None,
        description="the namespace in which it was decided, and whose log `as_of` belongs to, if the stream "
        "was copied into this one; null otherwise",
    )


class Milestone(Alert):
    """A gross total, or a reading, crossed a threshold upward for the first time."""

    kind: Literal["milestone"] = "milestone"
    threshold: int
    total: int = Field(
        description="the figure when the crossing was seen, at `as_of`; at least the threshold"
    )
    superseded_by: str | None = Field(
        None,
        description="id of the highest milestone of the series crossed at the same time; null if this is it. "
        "Only that one is delivered; the others are kept for the record",
    )
    retractions: int = Field(0, description="how often the milestone was retracted before; part of the id")


class Retraction(Alert):
    """A milestone no longer holds: events that it rested on have been voided. Both stay on record."""

    kind: Literal["retraction"] = "retraction"
    retracts: str = Field(description="id of the milestone")
    threshold: int
    total: int = Field(
        description="the figure at `as_of`; it is at least the threshold only if the milestone names a "
        "retracted one in `superseded_by`: then it is decided again"
    )
    superseded_by: str | None = Field(
        None, description="that of the milestone; if it names one, neither of the two was delivered"
    )


class Spike(Alert):
    """A closed minute of a live broadcast was far above the median of the minutes before it."""

    kind: Literal["spike"] = "spike"
    number: int = Field(description="counts the spikes of the broadcast by this rule, from 1")
    observed: int = Field(description="count of the minute that began at `occurred_at`")
    baseline: float = Field(description="median of the minutes before")
    window_minutes: int = Field(description="number of minutes that the median covers")
    factor: float | None = Field(description="observed / baseline; null if the baseline is 0")


AlertRecord = Annotated[Milestone | Retraction | Spike, Field(discriminator="kind")]
ALERT: TypeAdapter[Milestone | Retraction | Spike] = TypeAdapter(AlertRecord)


def milestone_id(
    scope: str, subject: tuple[str, ...], metric: str, threshold: int, retractions: int = 0
) -> str:
    """The id of a milestone. One that was retracted is another one when it is reached again."""
    again = (retractions,) if retractions else ()
    return alert_id("milestone", scope, *subject, metric, threshold, *again)


def retraction_id(milestone: str) -> str:
    """The id of the retraction of a milestone, of which there is one."""
    return alert_id("retraction", milestone)


def alert_id(*parts: str | int) -> str:
    """The id of an alert: the first 128 bits, in hex, of SHA-256 over its length-prefixed parts."""
    digest = hashlib.sha256()
    for part in map(str, parts):
        data = part.encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()[:32]
