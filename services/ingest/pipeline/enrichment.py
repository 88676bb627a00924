"""Completing events before they are written, so that a replay needs the log alone."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from schemas.hashtags import AliasTable
from schemas.structs import Event, Interaction, Post, Remembered
from services.ingest.pipeline.known_posts import KnownPosts, PostMetadata, PostRecord, record_of
from services.ingest.pipeline.pseudonyms import Pseudonymizer


class Enrichment:
    """Fills in what is known of posts, resolves hashtag aliases, marks VIPs and hides actors."""

    def __init__(self, posts: KnownPosts, aliases: AliasTable, actors: Pseudonymizer) -> None:
        self._posts = posts
        self._resolved = Remembered(aliases.resolve_all)
        self._actors = actors

    def redact(self, raw: bytes) -> bytes:
        """The bytes of a rejected event without what says who acted."""
        return self._actors.redact(raw)

    def enrich(self, events: Sequence[Event]) -> list[PostRecord]:
        """Complete events in normal form, in place and in order; returns the records of the posts among them.

        An interaction after its post, in the same batch too, gets what the post says. What an event says
        itself is kept.
        """
        upserted: list[PostRecord] = []
        resolved, metadata_of, pseudonymize = self._resolved, self._posts.get, self._actors.pseudonymize
        for event in events:
            kind = type(event)
            if kind is Interaction:
                if event.hashtags:
                    event.hashtags = resolved[event.hashtags]
                post_id = event.post_id
                if post_id and (metadata := metadata_of(event.platform, post_id)) is not None:
                    _complete(event, metadata)
                if actor := event.actor:
                    pseudonymize(event.platform, actor)
            elif kind is Post:
                if event.hashtags:
                    event.hashtags = resolved[event.hashtags]
                self._posts.upsert(event)
                upserted.append(record_of(event))
            elif (tags := getattr(event, "hashtags", UNSET)) and tags:
                event.hashtags = resolved[tags]
        return upserted


def _complete(event: Event, metadata: PostMetadata) -> None:
    hashtags, campaign, post_format, broadcast_id = metadata
    if event.hashtags is UNSET:
        event.hashtags = hashtags
    if event.campaign is UNSET:
        event.campaign = campaign
    if event.post_format is UNSET:
        event.post_format = post_format
    if event.broadcast_id is UNSET:
        event.broadcast_id = broadcast_id
