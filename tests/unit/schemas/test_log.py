"""What every reader of the log shares."""

from __future__ import annotations

import pytest

from schemas.log import newest_time_ms


@pytest.mark.parametrize(
    ("record", "newest"),
    [
        (b'[{"occurred_at":5},{"kind":"clock","stream_time":7}]', 7),
        (b'{"occurred_at":5}', 5),
        (b"[]", 0),
        (None, 0),
        (b"{", 0),
        (b"\xff", 0),
        (b'{"kind":"x","y":' + b"[" * 100_000, 0),
    ],
    ids=["batch", "single", "empty", "tombstone", "cut off", "not UTF-8", "too deep"],
)
def test_the_newest_time_of_any_record_is_known(record: bytes | None, newest: int) -> None:
    """Whatever somebody wrote into the log, ingest can start."""
    assert newest_time_ms(record) == newest
