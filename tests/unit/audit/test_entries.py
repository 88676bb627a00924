"""The log as rows, read by code of the audit's own."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import services.audit
from schemas.events import LOG_ENTRY
from services.audit.recounting.entries import SCHEMA, Rows, parse_record

EVENT = {
    "v": 1, "event_id": "e1", "occurred_at": 1_782_120_600_123, "platform": "twitter",
    "account": "GansuTravel",
}  # fmt: skip
INTERACTION = EVENT | {
    "kind": "interaction",
    "action": "repost",
    "quantity": 3,
    "post_id": "p1",
    "broadcast_id": "fuxi-2026",
    "hashtags": ["fuxiceremony", "伏羲大典"],
    "campaign": "fuxi-ceremony-2026",
    "post_format": "live",
    "actor": {"id": "00", "country": "CN", "verified": True},
}


def rows_of(*values: bytes | None) -> list[dict[str, Any]]:
    """Rows of records at offsets 0, 1, 2 and so on of partition 4, without their empty columns."""
    rows = Rows()
    for offset, value in enumerate(values):
        rows.add(4, offset, 1000 + offset, value)
    return [
        {name: value for name, value in row.items() if value is not None} for row in rows.take().to_pylist()
    ]


def as_bytes(content: Any) -> bytes:
    """JSON as bytes."""
    return json.dumps(content, ensure_ascii=False).encode()


def test_an_interaction_fills_a_column_for_everything_that_is_counted() -> None:
    """All that counting needs of an event is in its row, under its address."""
    (row,) = rows_of(as_bytes(INTERACTION))
    assert row == {
        "partition": 4, "offset": 0, "index": 0, "record_timestamp_ms": 1000, "kind": "interaction",
        "event_id": "e1", "occurred_at_ms": 1_782_120_600_123, "platform": "twitter",
        "account": "GansuTravel",
        "action": "repost", "quantity": 3, "post_id": "p1", "broadcast_id": "fuxi-2026",
        "hashtags": ["fuxiceremony", "伏羲大典"], "campaign": "fuxi-ceremony-2026", "post_format": "live",
        "country": "CN", "verified": True,
    }  # fmt: skip


def test_the_other_kinds_fill_theirs() -> None:
    """Posts, readings, broadcasts and clocks have a row each, in the order of the array."""
    post = EVENT | {"kind": "post", "post_id": "p1", "format": "video"}
    reading = EVENT | {"kind": "reading", "metric": "followers", "value": 0}
    broadcast = EVENT | {"kind": "broadcast", "broadcast_id": "b", "phase": "started", "title": "Fuxi"}
    clock = {"kind": "clock", "v": 1, "stream_time": 5, "source": "wall"}
    rows = rows_of(as_bytes([post, reading, broadcast, clock]))
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["post_format"] == "video"
    assert (rows[1]["metric"], rows[1]["value"]) == ("followers", 0)
    assert (rows[2]["phase"], rows[2]["title"]) == ("started", "Fuxi")
    assert (rows[3]["kind"], rows[3]["stream_time_ms"]) == ("clock", 5)


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "poll"},
        {},
        7,
        INTERACTION | {"v": 2},
        INTERACTION | {"action": "wave"},
        INTERACTION | {"quantity": 0},
        INTERACTION | {"quantity": 10**400},
        INTERACTION | {"occurred_at": "2026-06-22T09:30:00Z"},
        INTERACTION | {"event_id": ""},
        {name: value for name, value in INTERACTION.items() if name != "account"},
        EVENT | {"kind": "reading", "metric": "followers", "value": -1},
        EVENT | {"kind": "post"},
        {"kind": "clock", "stream_time": 0},
    ],
)
def test_an_entry_that_is_no_event_is_a_row_with_its_problem(entry: Any) -> None:
    """It keeps its address and the reason; the other entries of its record are events all the same."""
    rows = rows_of(as_bytes([INTERACTION, entry, INTERACTION]))
    assert [row.get("kind") for row in rows] == ["interaction", None, "interaction"]
    assert rows[1]["problem"]
    assert rows[1].keys() == {"partition", "offset", "index", "record_timestamp_ms", "problem"}


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"[1,", b"[" * 5000, b'"\\ud800"'])
def test_a_record_that_cannot_be_taken_apart_is_one_row(value: bytes | None) -> None:
    """Whatever the bytes are, they are one entry with a problem, and the next record is read."""
    rows = rows_of(value, as_bytes(INTERACTION))
    assert [(row["offset"], "problem" in row) for row in rows] == [(0, True), (1, False)]


def test_an_empty_array_holds_no_entries() -> None:
    """A record without entries is no row and no problem."""
    assert rows_of(b"[]") == []


def test_every_valid_example_of_the_contract_is_read() -> None:
    """What the contract accepts, written to the log as ingest writes it, has no problem here."""
    examples = Path(__file__).parents[3] / "schemas" / "examples" / "valid"
    found = 0
    for file in sorted(examples.rglob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "kind" not in content:
            continue
        entry = LOG_ENTRY.validate_python(content, strict=False)
        stored = as_bytes(entry.model_dump(exclude_none=True) | {"v": 1})
        assert [getattr(each, "problem", None) for each in parse_record(stored)] == [None], file.name
        found += 1
    assert found >= 5


def test_the_audit_shares_no_counting_code() -> None:
    """Nothing in it imports the aggregator, the alerts service, or the module that adds totals up."""
    folder = Path(services.audit.__file__).parent
    forbidden = ("services.aggregate", "services.alerts", "services.ingest", "schemas.totals")
    found = {file.name: imports(file.read_text(encoding="utf-8")) for file in folder.rglob("*.py")}
    assert "services.audit.recounting.engine" in found["recount.py"]
    for name, imported in found.items():
        assert not [each for each in imported if each.startswith(forbidden)], name


def imports(source: str) -> set[str]:
    """The modules that a source imports, and the names that it takes from them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_way_to_import_is_seen() -> None:
    """`import a.b`, `from a import b` and `from a.b import c` all name a.b."""
    for source in ("import a.b", "from a import b", "from a.b import c"):
        assert "a.b" in imports(source)


def test_the_columns_are_documented_by_their_schema() -> None:
    """The first columns are the address; a row of an export is never without it."""
    assert SCHEMA.names[:4] == ["partition", "offset", "index", "record_timestamp_ms"]
    assert not any(SCHEMA.field(name).nullable for name in SCHEMA.names[:4])


@pytest.mark.parametrize(
    ("source", "ahead_ms", "is_problem"),
    [
        ("wall", 300_000, False),
        ("wall", 300_001, True),
        ("event", 10**10, True),
        ("event", -(10**10), False),
        (None, 10**10, True),
    ],
)
def test_a_clock_that_is_ahead_of_the_broker_is_a_problem(
    source: str | None, ahead_ms: int, is_problem: bool
) -> None:
    """As for the aggregator: such a record says nothing about stream time."""
    clock = {"kind": "clock", "stream_time": 1_782_120_600_000 + ahead_ms}
    rows = Rows()
    rows.add(0, 0, 1_782_120_600_000, json.dumps([clock | ({"source": source} if source else {})]).encode())
    (row,) = rows.take().to_pylist()
    assert (row["kind"], bool(row["problem"])) == ((None, True) if is_problem else ("clock", False))


@pytest.mark.parametrize("time_ms", [9_223_372_036_854_775_807, 4_102_444_800_000, 0, -1])
def test_a_time_of_another_millennium_is_a_problem(time_ms: int) -> None:
    """In a clock record and in an event."""
    for entry in ({"kind": "clock", "stream_time": time_ms}, INTERACTION | {"occurred_at": time_ms}):
        (row,) = rows_of(json.dumps(entry).encode())
        assert row["problem"]
