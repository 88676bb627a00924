"""`fanpulse load`: single cells to values."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from fanpulse.load.parsing.cell_parsers import converter, is_absent
from fanpulse.load.parsing.cells import CellError
from fanpulse.load.parsing.fields import FieldType
from fanpulse.load.parsing.times import Times
from schemas.reasons import Reason

NINE_THIRTY = 1_782_120_600_000  # 2026-06-22T09:30:00Z


def read(field_type: FieldType, value: Any) -> Any:
    """Convert one cell."""
    return converter(field_type, Times())(value)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2026-06-22T09:30:00Z", "2026-06-22T09:30:00Z"),
        ("2026-06-22T17:30:00.5+08:00", "2026-06-22T17:30:00.5+08:00"),
        ("2026-06-22 09:30:00", NINE_THIRTY),
        ("2026-06-22T09:30", NINE_THIRTY),
        ("2026-06-22T09:30Z", NINE_THIRTY),
        ("2026-06-22 17:30:00+0800", NINE_THIRTY),
        ("2026-06-22 17:30:00 +08:00", NINE_THIRTY),
        ("2026-06-22T17:30:00+08", NINE_THIRTY),
        ("2026-06-22T09:30:00.123456789", NINE_THIRTY + 123),
        ("2026-06-22", NINE_THIRTY - 34_200_000),
        ("1782120600", NINE_THIRTY),
        ("1782120600000", NINE_THIRTY),
        ("1782120600.25", NINE_THIRTY + 250),
        ("1782120600.0", NINE_THIRTY),
        (1_782_120_600, NINE_THIRTY),
        (NINE_THIRTY, NINE_THIRTY),
        (1782120600.25, NINE_THIRTY + 250),
        (Decimal("1782120600.25"), NINE_THIRTY + 250),
        (datetime(2026, 6, 22, 9, 30, tzinfo=UTC), NINE_THIRTY),
        (datetime(2026, 6, 22, 9, 30), NINE_THIRTY),
        (date(2026, 6, 22), NINE_THIRTY - 34_200_000),
    ],
)
def test_times_of_every_readable_form_become_epoch_milliseconds(cell: Any, expected: Any) -> None:
    """RFC 3339 passes as it is; ISO, numbers and typed times become milliseconds; UTC without an offset."""
    assert read(FieldType.TIME, cell) == expected


@pytest.mark.parametrize("cell", ["22/06/2026 09:30", "2026-06-31", "2026-06-22T25:00:00", "today", "1e9"])
def test_a_time_that_cannot_be_read_stays_as_it_is(cell: str) -> None:
    """What is no time goes into the event unread, for ingest to reject, and the reason is bad_time."""
    with pytest.raises(CellError) as caught:
        read(FieldType.TIME, cell)
    assert caught.value.value == cell
    assert caught.value.reason is Reason.BAD_TIME


def test_a_time_without_an_offset_is_taken_in_the_zone_given() -> None:
    """--timezone says where local times were written; the reader counts them."""
    times = Times(zone="Asia/Shanghai")
    assert times.read("2026-06-22 17:30:00") == NINE_THIRTY
    assert times.read("2026-06-22T09:30:00Z") == "2026-06-22T09:30:00Z"
    assert times.without_offset == 1


def test_of_an_hour_that_occurs_twice_the_first_is_taken() -> None:
    """When clocks go back, a local time names two instants; the earlier one is documented to count."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert Times(zone="Europe/Berlin").read("2026-10-25 02:30:00") == int(first.timestamp() * 1000)


def test_the_unit_of_numbers_can_be_said() -> None:
    """Under s every number is seconds, under ms none is; auto tells them apart by size and counts seconds."""
    assert Times("s").read("100000000001") == 100_000_000_001_000
    assert Times("ms").read("1782120600") == 1_782_120_600
    auto = Times("auto")
    assert (auto.read("99999999999"), auto.read("100000000000")) == (99_999_999_999_000, 100_000_000_000)
    assert auto.units["s"] == 1


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("#FuxiCeremony #伏羲大典", ["#FuxiCeremony", "#伏羲大典"]),
        ("a,b, c;d", ["a", "b", "c", "d"]),
        ("多彩甘肃，临夏杏花、伏羲大典\u3000甘肃", ["多彩甘肃", "临夏杏花", "伏羲大典", "甘肃"]),
        (" a\tb\nc ", ["a", "b", "c"]),
        ('["a", "b c"]', ["a", "b c"]),
        ("['a', 'b']", ["a", "b"]),
        (["a", None, "b"], ["a", "b"]),
        ('[{"text": "a"}, {"name": "b"}]', ["a", "b"]),
        ([{"tag": "a"}, "b"], ["a", "b"]),
        ("#a، #b؛ — ...", ["#a،", "#b؛"]),
        (",", []),
        ("[]", []),
    ],
)
def test_hashtags_are_split_at_blanks_commas_and_semicolons(cell: Any, tags: list[str]) -> None:
    """Full-width signs part them too; a list written out in JSON or Python is read as a list."""
    assert read(FieldType.HASHTAGS, cell) == tags


@pytest.mark.parametrize(
    ("column", "tags"),
    [
        *[(name, ["Restoring", "the", "#bell"]) for name in ("Hashtags", "post.tags", "Keywords", "标签")],
        *[(name, ["bell"]) for name in ("Title", "Beschreibung", "caption", "帖子内容")],
    ],
)
def test_of_a_caption_only_what_is_marked_is_a_hashtag(column: str, tags: list[str]) -> None:
    """The name of the column says what its words are."""
    read_cell = converter(FieldType.HASHTAGS, Times(), column)
    assert read_cell("Restoring the #bell") == tags
    assert read_cell('["bell"]') == ["bell"]


@pytest.mark.parametrize(
    "cell", ["1.22158E+17", "1,22158E+17", "1.2e+5", "144021.0", 1.22158e17, Decimal("1.5"), float("inf")]
)
def test_an_id_that_a_spreadsheet_rounded_is_rejected(cell: Any) -> None:
    """Its last digits are lost: to count under a guessed id would merge different posts."""
    with pytest.raises(CellError, match="export the column as text") as caught:
        read(FieldType.ID, cell)
    assert not isinstance(caught.value.value, str)  # so that ingest rejects it too


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("122158012345678901", "122158012345678901"), (122158012345678901, "122158012345678901"),
     (144021.0, "144021"), ("1e5", "1e5"), ("E+1", "E+1"), ("a.0", "a.0"), (b"x1", "x1")],
)  # fmt: skip
def test_whole_ids_become_texts(cell: Any, expected: str) -> None:
    """Digits of any length, whole numbers that a double holds exactly, and texts that only look odd."""
    assert read(FieldType.ID, cell) == expected


@pytest.mark.parametrize(
    "cell", ["12,400", "12.400", "12 400", "5.0", "five", "0x10", "٣", True, 5.5, "1" * 401]
)
def test_numbers_with_separators_are_rejected(cell: Any) -> None:
    """12.400 is twelve thousand in one country and twelve in another: nothing is guessed."""
    with pytest.raises(CellError) as caught:
        read(FieldType.INTEGER, cell)
    assert caught.value.reason is Reason.WRONG_TYPE


@pytest.mark.parametrize(("cell", "expected"), [("12400", 12400), ("+5", 5), ("-5", -5), (7, 7), (5.0, 5)])
def test_whole_numbers_are_read(cell: Any, expected: int) -> None:
    """Digits with an optional sign, and typed numbers without a fraction."""
    assert read(FieldType.INTEGER, cell) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("true", True), ("FALSE", False), ("1", True), ("0", False), (True, True), (0, False)],
)
def test_flags_are_read(cell: Any, expected: bool) -> None:
    """true, false, 1 and 0, in any case."""
    assert read(FieldType.BOOLEAN, cell) is expected


@pytest.mark.parametrize("cell", ["yes", "2", 2, "t"])
def test_other_words_are_no_flags(cell: Any) -> None:
    """Whether `y` is yes or the unknown of some survey is not for us to say."""
    with pytest.raises(CellError):
        read(FieldType.BOOLEAN, cell)


@pytest.mark.parametrize("cell", ["", "  ", None, float("nan")])
def test_what_says_nothing_is_absent(cell: Any) -> None:
    """Empty and blank texts, null and not-a-number."""
    assert is_absent(cell)


@pytest.mark.parametrize("cell", ["NA", "null", "0", 0, False, []])
def test_words_for_nothing_are_words(cell: Any) -> None:
    """NA is Namibia; only an empty cell is absent."""
    assert not is_absent(cell)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun Nov 08 10:19:24 +0000 2026", "2026-11-08T10:19:24Z"),
        ("Sun, 08 Nov 2026 10:19:24 +0800", "2026-11-08T02:19:24Z"),
        ("Fri, Apr 26, 2024", "2024-04-26T00:00:00Z"),
        ("Nov 8, 2026", "2026-11-08T00:00:00Z"),
        ("08.11.2026 18:12", "2026-11-08T18:12:00Z"),
        ("8.11.2026", "2026-11-08T00:00:00Z"),
        ("08.11.2026, 18:12:05", "2026-11-08T18:12:05Z"),
        ("2026/11/08 18:12", "2026-11-08T18:12:00Z"),
        ("2026年11月8日 18:12", "2026-11-08T18:12:00Z"),
        ("2026-11-08T8:05", "2026-11-08T08:05:00Z"),
    ],
)
def test_notations_that_mean_one_day_are_read(text: str, moment: str) -> None:
    """Year first, day first with dots, and a month by its name."""
    expected = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    assert Times().read(text) == int(expected.timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "month_first", "day_first"),
    [
        ("11/08/2026 18:12", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"),
        ("11/13/2026", "%m/%d/%Y", "%d/%m/%Y"),  # of one cell alone nothing is concluded
        ("8-11-26 06:12 PM", "%m-%d-%y %I:%M %p", "%d-%m-%y %I:%M %p"),
        ("11/08/2026 18:12:30", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S"),
    ],
)
def test_a_day_that_reads_in_two_ways_is_not_guessed(text: str, month_first: str, day_first: str) -> None:
    """The line shows both, and either can be said."""
    with pytest.raises(CellError) as caught:
        Times().read(text)
    assert repr(month_first) in caught.value.detail
    assert repr(day_first) in caught.value.detail
    if text != "11/13/2026":
        first, second = (Times(time_format=each).read(text) for each in (month_first, day_first))
        assert abs(second - first) == 89 * 86_400_000  # from 11 August to 8 November
    with pytest.raises(CellError, match="is not written as --time-format"):
        Times(time_format=month_first).read("yesterday")


@pytest.mark.parametrize(
    ("number", "unit"),
    [
        (1_795_900_000, "s"), (1_795_900_000_000, None), (1_795_900_000_000_000, "us"),
        (1_795_900_000_000_000_000, "ns"), ("1795900000000000", "us"), (Decimal("1795900000.25"), "s"),
        (1.7959e15, "us"),
    ],
)  # fmt: skip
def test_the_unit_of_an_epoch_time_is_told_by_its_size(number: Any, unit: str | None) -> None:
    """Seconds, milliseconds, microseconds of Jetstream, nanoseconds; what was taken for what is counted."""
    times = Times()
    assert abs(times.read(number) - 1_795_900_000_000) <= 250
    assert times.units == ({unit: 1} if unit else {})
