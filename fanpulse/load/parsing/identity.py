"""The id of a row that has none: a hash of what it says, so that a row loaded twice is one event.

It is made of the raw row (names and values in column order) and of what the event is about: kind, platform,
account, action, metric, phase, post and broadcast. So two files with the same rows, loaded for two accounts,
are two sets of events; and a mapping of a further column, added later, does not count the rows again. The
name of the file and the place of the row in it do not matter: two rows that say the same are one event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

_ABOUT = ("kind", "platform", "account", "action", "metric", "phase", "post_id", "broadcast_id")
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode

RowId = Callable[[dict[str, Any], Any], str]


def table_row_id(columns: Sequence[str]) -> RowId:
    """The function (event, cells) -> id for the rows of a table."""
    head = blake2b(_encode(list(columns)), digest_size=16)

    def row_id(event: dict[str, Any], cells: Any) -> str:
        digest = head.copy()
        digest.update(_encode([event.get(name) for name in _ABOUT]))
        digest.update(_encode(cells))
        return "row-" + digest.hexdigest()

    return row_id


def object_row_id(event: dict[str, Any], row: dict[str, Any]) -> str:
    """The id of a JSON row; the order of its keys does not matter."""
    about = _encode([event.get(name) for name in _ABOUT])
    return "row-" + blake2b(about + _encode_sorted(row), digest_size=16).hexdigest()
