"""What one request writes to Kafka, as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.ingest.pipeline.known_posts import PostRecord
from services.ingest.pipeline.packing import Fragment


class PublishRequest(NamedTuple):
    """Events, known posts and dead letters that are acknowledged together."""

    fragments: Sequence[Fragment] = ()
    posts: Sequence[PostRecord] = ()
    dead_letters: Sequence[bytes] = ()

    @property
    def items(self) -> int:
        """The number of things to write."""
        return len(self.fragments) + len(self.posts) + len(self.dead_letters)

    @property
    def size(self) -> int:
        """Bytes that are held until all of it is acknowledged."""
        size = sum(map(len, self.dead_letters))
        for fragment in self.fragments:
            size += len(fragment.data)
        for key, value in self.posts:
            size += len(key) + len(value)
        return size
