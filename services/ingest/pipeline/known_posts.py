"""What is known of posts: enough to complete the interactions with them.

``engagement.posts.v1`` holds one record per post, keyed by ``["platform","post_id"]``; the latest one stands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from schemas.structs import Event

#: What the interactions with a post lack: hashtags, campaign, format, broadcast. UNSET: not known.
PostMetadata = tuple[Any, Any, Any, Any]

_encode = msgspec.json.Encoder().encode


class PostRecord(NamedTuple):
    """Key and value for the topic."""

    key: bytes
    value: bytes


class _Value(msgspec.Struct, omit_defaults=True):
    """The value of a post's record. Unknown fields are left alone: a later version may add some."""

    platform: str
    post_id: str
    account: Any = UNSET
    format: Any = UNSET
    language: Any = UNSET
    hashtags: tuple[str, ...] | msgspec.UnsetType = UNSET
    campaign: Any = UNSET
    broadcast_id: Any = UNSET


_decode_value = msgspec.json.Decoder(_Value).decode


def record_of(post: Event) -> PostRecord:
    """The record that lets another process, or this one after a restart, know the post."""
    value = _Value(
        platform=post.platform,
        post_id=post.post_id,
        account=post.account,
        format=post.format,
        language=post.language,
        hashtags=post.hashtags,
        campaign=post.campaign,
        broadcast_id=post.broadcast_id,
    )
    return PostRecord(_encode((post.platform, post.post_id)), _encode(value))


class KnownPosts:
    """At most ``capacity`` posts; those unused for longest are forgotten first.

    Two dictionaries instead of a list of uses: a post that is used moves to the young one; when that holds
    half of the capacity, the old one is dropped whole. A look-up stays one or two dictionary accesses.
    """

    def __init__(self, capacity: int) -> None:
        self._half = max(1, capacity // 2)
        self._young: dict[tuple[str, str], PostMetadata] = {}
        self._old: dict[tuple[str, str], PostMetadata] = {}
        #: Many posts have the same metadata; they share one object.
        self._shared: dict[PostMetadata, PostMetadata] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, platform: str, post_id: str) -> PostMetadata | None:
        """What is known of a post."""
        key = (platform, post_id)
        metadata = self._young.get(key)
        if metadata is None and (metadata := self._old.get(key)) is not None:
            self._put(key, metadata)
        return metadata

    def upsert(self, post: Event) -> None:
        """Take in a post event in normal form."""
        self._upsert(post)

    def upsert_record(self, value: bytes) -> None:
        """Take in the value of a record of the topic; raises msgspec.DecodeError if it is malformed."""
        self._upsert(_decode_value(value))

    def forget(self, key: bytes) -> None:
        """Take in the removal of a post from the topic; raises msgspec.DecodeError if its key is bad."""
        platform, post_id = msgspec.json.decode(key, type=tuple[str, str])
        self._young.pop((platform, post_id), None)
        self._old.pop((platform, post_id), None)

    def _upsert(self, post: Any) -> None:
        metadata = (post.hashtags, post.campaign, post.format, post.broadcast_id)
        if len(self._shared) > self._half:
            self._shared.clear()
        self._put((post.platform, post.post_id), self._shared.setdefault(metadata, metadata))

    def _put(self, key: tuple[str, str], metadata: PostMetadata) -> None:
        if len(self._young) >= self._half and key not in self._young:
            self._old, self._young = self._young, {}
        self._old.pop(key, None)
        self._young[key] = metadata
