"""The contract: every event that ingest accepts, and every event in the log.

A client sends these as JSON. Ingest completes and normalises them and writes the same models, with times as
integer milliseconds, to engagement.events.v1. A record of that topic is a JSON array of events (or one
event), so the address of an event is (partition, offset, index).
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.fields import (
    LATEST_MS,
    Account,
    Country,
    Flag,
    Hashtags,
    Language,
    Name,
    Platform,
    Quantity,
    Text,
    Time,
    Value,
)

VERSION = 1

Action = Literal[
    "like", "comment", "repost", "quote", "share", "follow", "read", "mention",
    "unlike", "unrepost", "unfollow", "delete_comment",
]  # fmt: skip
Format = Literal["graphic", "link", "video", "live"]
Metric = Literal["followers", "reads", "likes", "comments", "reposts", "viewers"]
Phase = Literal["scheduled", "preheat", "started", "ended"]

ACTIONS: tuple[str, ...] = get_args(Action)
METRICS: tuple[str, ...] = get_args(Metric)
#: A withdrawal lowers the net figure of the action that it takes back. Both gross counters only rise.
WITHDRAWALS: dict[str, str] = {
    "unlike": "like",
    "unrepost": "repost",
    "unfollow": "follow",
    "delete_comment": "comment",
}
#: Reads are a thousand times as many as all others, and a follow concerns the account, not a post.
_NO_INTERACTIONS = ("read", "follow")
#: What a person did to make a post known or answer it: the sum called `interactions` in rules and boards.
#: Every action but withdrawals and those above, so a new action cannot be forgotten here.
INTERACTIONS: tuple[str, ...] = tuple(
    action for action in ACTIONS if action not in WITHDRAWALS and action not in _NO_INTERACTIONS
)
#: Metrics of readings that are a current number: their differences have no meaning.
GAUGES: tuple[str, ...] = ("viewers",)
#: Metrics that people cannot take back: a fall is a downward adjustment by the platform. In the others
#: (followers, likes, comments, reposts) people may have changed their minds.
IRREVOCABLE: tuple[str, ...] = ("reads",)
#: The action under which a `post` event is counted.
POST_ACTION = "post"


class Event(BaseModel):
    """The fields of every event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Annotated[Literal[1], Field(description="version of this contract")] = 1
    event_id: Text = Field(description="unique per event; a repeated id in the dedup window counts once")
    occurred_at: Time = Field(
        description="when it happened: RFC 3339 or epoch milliseconds; in the log, the latter"
    )
    platform: Platform = Field(description="where it happened, e.g. twitter, facebook, instagram")
    account: Account = Field(description="the organisation's handle that it concerns, without @")


class Actor(BaseModel):
    """Who acted. In the log `id` is a pseudonym, and only actors on the VIP list keep their `name`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text = Field(description="the platform's id of the actor")
    country: Country | None = Field(None, description="ISO 3166-1 alpha-2")
    verified: Flag | None = Field(None, description="verified by the platform, or on the VIP list")
    name: Name | None = Field(None, description="name to show")


class Interaction(Event):
    """One action of one actor (or, with a quantity, of several actors)."""

    kind: Literal["interaction"]
    action: Action
    quantity: Quantity = Field(1, description="how many; counted as that many actions")
    post_id: Text | None = Field(None, description="the post that it concerns")
    broadcast_id: Text | None = Field(None, description="the live broadcast that it concerns")
    hashtags: Hashtags | None = Field(None, description="filled in from the post if absent")
    campaign: Text | None = Field(None, description="filled in from the post if absent")
    post_format: Format | None = Field(None, description="filled in from the post if absent")
    actor: Actor | None = None


class Post(Event):
    """The account published a post; counted as action `post`."""

    kind: Literal["post"]
    post_id: Text
    format: Format | None = None
    language: Language | None = Field(None, description="BCP 47, e.g. en, zh-hans")
    hashtags: Hashtags | None = None
    campaign: Text | None = None
    broadcast_id: Text | None = Field(
        None, description="the live broadcast that the post carries or announces"
    )


class Reading(Event):
    """A figure as the platform reports it: of the account, or of the post or broadcast if it is named."""

    kind: Literal["reading"]
    metric: Metric
    value: Value
    post_id: Text | None = None
    broadcast_id: Text | None = None


class Broadcast(Event):
    """A live broadcast enters a phase."""

    kind: Literal["broadcast"]
    broadcast_id: Text
    phase: Phase
    title: Name | None = None
    campaign: Text | None = None
    hashtags: Hashtags | None = None


def void_id(partition: int, offset: int, index: int) -> str:
    """The event_id of the void of the event at an address: an event can be voided once."""
    return f"void:{partition}:{offset}:{index}"


class Clock(BaseModel):
    """A clock record: stream time, which ingest writes to every partition. Clients cannot send it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["clock"]
    v: Literal[1] = 1
    stream_time: Annotated[int, Field(ge=0, le=LATEST_MS - 1, description="epoch milliseconds")]
    source: Literal["wall", "event"] = Field(description="wall clock, or the newest event time accepted")


class Void(BaseModel):
    """Takes an event of the log back: it counts as if it had never been sent. `fanpulse void` writes it to
    the partition of the event. Clients cannot send it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["void"]
    v: Literal[1] = 1
    event_id: Text = Field(description="void:<partition>:<offset>:<index>, the address of the voided event")
    partition: Annotated[int, Field(ge=0, description="where the voided event is")]
    offset: Annotated[int, Field(ge=0, description="of its record")]
    index: Annotated[int, Field(ge=0, description="of the event in its record")]
    event: Interaction | Post = Field(description="the voided event, as it is in the log")
    reason: Text = Field(description="why, for people")
    by: Text = Field(description="who")
    voided_at: Annotated[int, Field(ge=0, description="wall clock in epoch milliseconds")]


Submission = Annotated[Interaction | Post | Reading | Broadcast, Field(discriminator="kind")]
LogEntry = Annotated[Interaction | Post | Reading | Broadcast | Clock | Void, Field(discriminator="kind")]

SUBMISSION: TypeAdapter[Interaction | Post | Reading | Broadcast] = TypeAdapter(Submission)
LOG_ENTRY: TypeAdapter[Interaction | Post | Reading | Broadcast | Clock | Void] = TypeAdapter(LogEntry)
MODELS: dict[str, type[Event]] = {
    "interaction": Interaction,
    "post": Post,
    "reading": Reading,
    "broadcast": Broadcast,
}


def subject_of(account: str, post_id: str | None, broadcast_id: str | None) -> str:
    """The subject of a reading: ``post/<id>``, ``broadcast/<id>``, or the account's handle."""
    if post_id:
        return f"post/{post_id}"
    return f"broadcast/{broadcast_id}" if broadcast_id else account
