"""How a stored state comes back.

``restore`` takes the stored entries in; ``rebuild_dedup`` reads the tail of the log again for the ids, which
are not stored. After both the state is the one that was stored.
"""

from __future__ import annotations

from typing import Any

from schemas.totals import COUNTED_SCOPES, Key, decode_key, decode_value
from services.aggregate.counting.decode import event_ids
from services.aggregate.counting.dedup import Deduplicator, DedupWindow, SegmentStart
from services.aggregate.counting.entries import CHECKPOINT_KEY
from services.aggregate.counting.gaps import Gap
from services.aggregate.counting.partition_state import PartitionState


class DedupWindowChangedError(ValueError):
    """The stream was counted under another dedup window than the settings give."""


def restore(state: PartitionState, stored: dict[bytes, bytes]) -> list[SegmentStart]:
    """Take the stored entries into a new state.

    Returns the dedup segments of that time: read the log again from the offset of the first one, up to and
    including ``state.offset`` (``rebuild_dedup``). Without a checkpoint nothing is restored, and there are
    no segments. Raises DedupWindowChangedError.
    """
    starts = restore_checkpoint(state, stored)
    if starts:
        state.windows.advance(state.stream_time_ms)
        for key_bytes, value_bytes in stored.items():
            _restore_entry(state, decode_key(key_bytes), decode_value(value_bytes))
        state.broadcasts.stream_time_ms = state.stream_time_ms
    return starts


def restore_checkpoint(state: PartitionState, stored: dict[bytes, bytes]) -> list[SegmentStart]:
    """Take in only how far the partition had been counted; apply no record to this state.

    Returns and raises what ``restore`` does.
    """
    found = stored.get(CHECKPOINT_KEY)
    if found is None:
        return []
    entry = decode_value(found)
    _require_dedup_window(entry, state.dedup_window)
    state.offset = entry["offset"]
    state.stream_time_ms = entry["stream_time_ms"]
    state.max_event_time_ms = entry["max_event_time_ms"]
    state.counted, state.duplicates = entry["counted"], entry["duplicates"]
    state.late, state.rejected = entry["late"], entry["rejected"]
    state.voided = entry.get("voided", 0)
    state.gaps = [Gap(**gap) for gap in entry.get("gaps", ())]
    state.forgotten_ids = entry.get("forgotten_ids", 0)
    state.stored.offset, state.stored.ordinal = state.offset, entry["ordinal"]
    starts = [SegmentStart(**start) for start in entry["segment_starts"]]
    prepare_replay(state, starts, starts[0].ordinal)
    return starts


def prepare_replay(
    state: PartitionState, starts: list[SegmentStart], ordinal: int, read: Deduplicator | None = None
) -> None:
    """Get ready to ``rebuild_dedup`` from a record on before which ``ordinal`` events had been seen.

    ``read`` holds the ids of those before it, if they have been read already.
    """
    state.dedup = Deduplicator.resume(state.dedup_window, starts, state.stream_time_ms, ordinal, read)


def rebuild_dedup(state: PartitionState, offset: int, data: bytes | None) -> None:
    """Take in the ids of a record that had been counted before the restart; records come in log order."""
    state.dedup.begin_record(offset)
    # Rejected entries are counted from the beginning of the stream: none means that every entry is good.
    state.dedup.rebuild_dedup(event_ids(data, all_good=state.rejected == 0))


def _require_dedup_window(checkpoint: dict[str, Any], expected: DedupWindow) -> None:
    stored = DedupWindow(checkpoint["segment_events"], checkpoint["segments"], checkpoint["segment_ms"])
    if stored != expected:
        raise DedupWindowChangedError(
            "aggregate.dedup_segment_events, dedup_segments and dedup_segment_seconds are "
            f"{expected}, but this stream was counted with {stored}; "
            "set these, or use another namespace"
        )


def _restore_entry(state: PartitionState, key: Key, entry: dict[str, Any]) -> None:
    scope, *subject = map(str, key)
    if scope in COUNTED_SCOPES:
        state.counters.restore((scope, *subject), entry)
        if scope == "post":
            state.posts.restore(subject[0], subject[1], entry["account"])
        elif scope == "broadcast":
            state.broadcasts.restore_about(subject[0], entry)
    elif scope == "reading":
        state.readings.restore(key, entry)
    elif scope == "minute":
        state.broadcasts.restore_minute(str(key[1]), int(key[2]), entry)
    elif scope == "bucket":
        _restore_bucket(state, key, entry)


def _restore_bucket(state: PartitionState, key: Key, entry: dict[str, Any]) -> None:
    _, width_ms, start_ms, part = key
    bucket = (int(width_ms), int(start_ms))
    parts = state.stored.bucket_parts
    parts[bucket] = max(parts.get(bucket, 0), int(part) + 1)
    counters = state.counters
    counts = {counters.number(tuple(row[:-1])): row[-1] for row in entry["rows"]}
    state.windows.restore(bucket, counts)
