"""Laws of `fanpulse load`."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanpulse.load.parsing.delimited import Delimited
from fanpulse.load.parsing.fields import fields_of
from fanpulse.load.parsing.objects import ObjectMapper
from fanpulse.load.parsing.rules import parse_rules
from fanpulse.load.parsing.tables import TableMapper
from schemas.codec import decode_one
from schemas.events import MODELS
from schemas.reasons import Rejection

GOOD = {
    "event_id": "e1", "occurred_at": "2026-06-22T09:30:00Z", "platform": "twitter", "account": "GansuTravel",
    "action": "like", "post_id": "p1", "metric": "reads", "value": "5", "broadcast_id": "fuxi-2026",
    "phase": "started", "actor.id": "u1",
}  # fmt: skip

cells = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"[+-]?\d[\d.,]{0,8}(E\+\d\d?)?", fullmatch=True),
    st.from_regex(r"20\d\d-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(Z|\+08:00)?)?", fullmatch=True),
    st.sampled_from(
        ["", " ", "true", "0", "#a, #b", "['a']", "[1]", "1.22158E+17", "144021.0", "NaN", "null"]
    ),
)
plain_cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12
)  # the csv module writes a lone carriage return unquoted
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(plain_cells, min_size=width, max_size=width), min_size=1, max_size=8)
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(list(MODELS)), st.data())
def test_ingest_rejects_what_we_find_wrong(kind: str, data: st.DataObject) -> None:
    """Whatever the cells have, a row becomes one line of JSON; and ingest rejects a row with a cell that we
    report as unreadable, so that no row is both counted and reported as rejected."""
    columns = list(fields_of(kind))
    odd = data.draw(st.dictionaries(st.sampled_from(columns), cells, max_size=3))
    row = [odd.get(name, GOOD.get(name, "")) for name in columns]
    found = TableMapper(parse_rules(kind), columns).map(row)
    assert b"\n" not in found.line
    assert json.loads(found.line)["kind"] == kind
    result = decode_one(found.line)
    assert {each.field for each in found.rejections} <= odd.keys()
    if found.rejections:
        assert isinstance(result, Rejection)
    if isinstance(result, Rejection):
        assert result.field.split(".")[0] in {name.split(".")[0] for name in odd}


@pytest.mark.parametrize(
    ("kind", "column", "cell"),
    [
        ("reading", "value", "many"),
        ("interaction", "quantity", "1.5"),
        ("post", "occurred_at", "yesterday"),
        ("interaction", "actor.verified", "perhaps"),
    ],
)
def test_an_unreadable_cell_is_reported_and_rejected(kind: str, column: str, cell: str) -> None:
    """The cell is named, and ingest rejects the row for the same field."""
    columns = list(fields_of(kind))
    row = [cell if name == column else GOOD.get(name, "") for name in columns]
    found = TableMapper(parse_rules(kind), columns).map(row)
    assert [each.field for each in found.rejections] == [column]
    result = decode_one(found.line)
    assert isinstance(result, Rejection)
    assert result.field == column


def moved(stream: io.BytesIO, here: int, there: int) -> None:
    """Move the stream as a resumed load does."""
    stream.seek(there - here, io.SEEK_CUR)


@given(tables, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n"]))
def test_csv_that_was_written_is_read(table: list[list[str]], quoting: Any, line_end: str) -> None:
    """Rows come back as they were written, in order, with the line they begin at; reading can go on after
    each. Rows of empty cells only are passed over."""
    columns = [f"c{number}" for number in range(len(table[0]))]
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator=line_end)
    writer.writerow(columns)
    expected = []
    for written in table:
        number = text.getvalue().count("\n") + 1
        writer.writerow(written)
        if any(written):
            expected.append((number, written))
    data = text.getvalue().encode()
    rows = list(Delimited(io.BytesIO(data)).rows())
    assert [(row.number, row.value) for row in rows] == expected
    for index, row in enumerate(rows):
        stream = io.BytesIO(data)
        reader = Delimited(stream)
        reader.go_on(row.end, row.lines, partial(moved, stream))
        assert list(reader.rows()) == rows[index + 1 :]


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_problems(data: bytes) -> None:
    """No bytes make the reader fail: line numbers never go back, and what is sent is one line."""
    last = 1
    for row in Delimited(io.BytesIO(b"a,b\n" + data)).rows():
        assert row.number >= last
        last = row.number
        if row.problem:
            assert isinstance(row.value, bytes)
            assert row.value.strip()
            assert b"\n" not in row.value
        else:
            assert isinstance(row.value, list)
            assert len(row.value) == 2


@given(st.dictionaries(st.sampled_from([*GOOD, "kind", "surprise", "actor", "hashtags"]), values, max_size=8))
def test_an_event_is_sent_as_it_stands(event: dict[str, Any]) -> None:
    """Ingest gets the line of a JSON row with kind and id as it is, and nothing is rejected before."""
    row = GOOD_EVENT | event | {"event_id": "e1"}
    line = json.dumps(row).encode()
    mapped = ObjectMapper(parse_rules()).map(line)
    assert (mapped.line, mapped.rejections) == (line, ())


GOOD_EVENT: dict[str, Any] = {
    "kind": "interaction", "occurred_at": "2026-06-22T09:30:00Z", "platform": "twitter", "account": "a",
    "action": "like",
}  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(["campaign", "quantity", "surprise", "actor", "post_id"]), values, max_size=5
    )
)
def test_the_id_of_a_row_depends_on_its_content_alone(row: dict[str, Any]) -> None:
    """Neither the order of keys nor blanks between them change the id; other content does."""
    event = GOOD_EVENT | row
    mapper = ObjectMapper(parse_rules())
    first = json.loads(mapper.map(json.dumps(event).encode()).line)["event_id"]
    reordered = dict(reversed(event.items()))
    second = json.loads(mapper.map(json.dumps(reordered, indent=1).encode().replace(b"\n", b"")).line)[
        "event_id"
    ]
    third = json.loads(mapper.map(json.dumps(event | {"more": 1}).encode()).line)["event_id"]
    assert first == second
    assert first != third


@given(st.lists(st.tuples(cells, cells), min_size=2, max_size=6))
def test_rows_have_the_same_id_only_if_they_say_the_same(rows: list[tuple[str, str]]) -> None:
    """The cells as they stand decide, also in columns that fill no field."""
    columns = ["occurred_at", "platform", "account", "post_id", "note"]
    mapper = TableMapper(parse_rules("post"), columns)
    ids = {}
    for post_id, note in rows:
        row = ["2026-06-22T09:30:00Z", "twitter", "a", post_id, note]
        ids[post_id, note] = json.loads(mapper.map(row).line)["event_id"]
    assert len(set(ids.values())) == len(ids)
