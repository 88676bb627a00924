"""`fanpulse load`: rows of a table to events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fanpulse.load.parsing.rules import RulesError, parse_rules
from fanpulse.load.parsing.tables import TableMapper
from schemas.codec import decode_one
from schemas.reasons import Reason, Rejection

POST = ["occurred_at", "platform", "account", "post_id", "hashtags"]
ROW = ["2026-06-22T09:30:00Z", "twitter", "GansuTravel", "p1", "#FuxiCeremony 伏羲大典"]


def mapped(columns: list[str], cells: list[Any], **rules: Any) -> dict[str, Any]:
    """The event of one row."""
    event: dict[str, Any] = json.loads(TableMapper(parse_rules(**rules), columns).map(cells).line)
    return event


def test_columns_named_like_fields_map_by_themselves() -> None:
    """A table whose columns have the names of fields needs no option but its kind; ingest takes its rows."""
    event = mapped(POST, ROW, kind="post")
    assert event.pop("event_id").startswith("row-")
    assert event == {
        "kind": "post", "occurred_at": "2026-06-22T09:30:00Z", "platform": "twitter",
        "account": "GansuTravel", "post_id": "p1", "hashtags": ["#FuxiCeremony", "伏羲大典"],
    }  # fmt: skip
    assert not isinstance(decode_one(json.dumps(event | {"event_id": "x"}).encode()), Rejection)


def test_map_and_set_fit_the_rest() -> None:
    """The retweets of the manual: mapped columns, nested fields, set values, seconds since the epoch."""
    event = mapped(
        ["time", "retweeter", "retweet", "original"],
        ["1610870193", "u1", "r1", "p1"],
        kind="interaction",
        maps=["occurred_at=time", "event_id=retweet", "post_id=original", "actor.id=retweeter"],
        sets=["platform=twitter", "account=GansuTravel", "action=repost", "actor.country=DE"],
    )
    assert event == {
        "kind": "interaction", "occurred_at": 1610870193000, "event_id": "r1", "post_id": "p1",
        "platform": "twitter", "account": "GansuTravel", "action": "repost",
        "actor": {"id": "u1", "country": "DE"},
    }  # fmt: skip


def test_empty_cells_are_absent_and_blanks_at_ends_are_dropped() -> None:
    """An empty cell leaves its field out; an empty event_id gets the hash of the row."""
    event = mapped(
        [*POST, "campaign", "event_id"],
        [" 2026-06-22T09:30:00Z ", "twitter", " a ", "p", "", "  ", ""],
        kind="post",
    )
    assert event["account"] == "a"
    assert "hashtags" not in event
    assert "campaign" not in event
    assert event["event_id"].startswith("row-")


def test_a_cell_that_cannot_be_read_goes_on_as_it_is() -> None:
    """The event goes to ingest with the offending value in place, and ingest rejects that very field."""
    mapper = TableMapper(parse_rules("interaction", (), ["action=like"]), [*POST, "quantity"])
    found = mapper.map([*ROW, "12,400"])
    assert found.rejections[0].field == "quantity"
    result = decode_one(found.line)
    assert isinstance(result, Rejection)
    assert (result.field, result.reason) == ("quantity", Reason.WRONG_TYPE)
    assert b"12,400" in found.line


@pytest.mark.parametrize("field", ["post_id", "event_id", "actor.id"])
def test_a_rounded_id_reaches_ingest_as_a_number_so_that_it_is_rejected(field: str) -> None:
    """1.22158E+17 is a valid text; it must not be taken for an id."""
    columns = [*POST[:3], "action", field]
    found = TableMapper(parse_rules("interaction"), columns).map([*ROW[:3], "like", "1.22158E+17"])
    result = decode_one(found.line)
    assert isinstance(result, Rejection)
    assert (result.field, result.reason) == (field, Reason.WRONG_TYPE)
    assert [rejection.field for rejection in found.rejections] == [field]


def test_the_kind_may_stand_in_a_column() -> None:
    """Rows of several kinds share a table; what one kind does not have is left out for it."""
    columns = [*POST, "kind", "action", "metric", "value"]
    mapper = TableMapper(parse_rules("post"), columns)
    like = json.loads(mapper.map([*ROW, "interaction", "like", "", ""]).line)
    post = json.loads(mapper.map([*ROW, "", "like", "", "7"]).line)
    reading = json.loads(mapper.map([*ROW, "reading", "", "reads", "7"]).line)
    assert (like["kind"], like["action"]) == ("interaction", "like")
    assert post["kind"] == "post"
    assert "action" not in post
    assert (reading["metric"], reading["value"]) == ("reads", 7)
    assert "hashtags" not in reading


def test_an_unknown_kind_is_for_ingest_to_reject() -> None:
    """Without --kind, a kind that does not exist is sent with the whole row: the dead letter has it."""
    found = TableMapper(parse_rules(), [*POST, "kind"]).map([*ROW, "boost"])
    assert json.loads(found.line)["post_id"] == "p1"
    result = decode_one(found.line)
    assert isinstance(result, Rejection)
    assert result.reason is Reason.UNKNOWN_KIND


def test_other_columns_are_ignored_and_named() -> None:
    """Files have more columns than we need."""
    mapper = TableMapper(parse_rules("post"), [*POST, "text", "likes"])
    mapper.map([*ROW, "hello", "5"])
    assert mapper.ignored == ["text", "likes"]


@pytest.mark.parametrize(
    ("columns", "rules", "says"),
    [
        (POST, {}, "--kind interaction|post|reading|broadcast"),
        (POST, {"kind": "post", "maps": ["language=lang"]}, "The columns are: occurred_at, platform"),
        (POST, {"kind": "post", "maps": ["campaign=hashtag"]}, "did you mean hashtags?"),
        (["time", *POST[1:]], {"kind": "post"}, "post needs occurred_at: give --map occurred_at=COLUMN"),
        (POST, {"kind": "interaction"}, "interaction needs action"),
        ([*POST, "account"], {"kind": "post"}, "two columns are named 'account'"),
    ],
)
def test_a_table_that_does_not_fit_is_rejected_before_its_first_row(
    columns: list[str], rules: dict[str, Any], says: str
) -> None:
    """What would reject every row is said once, with the columns that there are."""
    with pytest.raises(RulesError) as caught:
        TableMapper(parse_rules(**rules), columns)
    assert says in str(caught.value)


def test_the_names_of_columns_may_differ_in_case_and_blanks() -> None:
    """`Platform ` is the platform."""
    event = mapped(["Occurred_At", " Platform ", "ACCOUNT", "post_id", "hashtags"], ROW, kind="post")
    assert event["platform"] == "twitter"


class TestRowIds:
    """The id of a row that has none."""

    @staticmethod
    def row_id(cells: list[str], columns: list[str] = POST, **rules: Any) -> str:
        """The id given to a row."""
        return str(mapped(columns, cells, **({"kind": "post"} | rules))["event_id"])

    def test_the_same_row_has_the_same_id(self) -> None:
        """So that a file loaded twice counts once."""
        assert self.row_id(ROW) == self.row_id(list(ROW))

    def test_the_id_never_changes(self) -> None:
        """Pinned: another id after an update would count files again that were loaded before it."""
        assert self.row_id(ROW) == "row-5909d7fb8a26f50187f13527897e5c9e"

    def test_other_content_has_another_id(self) -> None:
        """Also where it differs in a column that is ignored."""
        columns = [*POST, "text"]
        assert self.row_id([*ROW, "a"], columns) != self.row_id([*ROW, "b"], columns)
        assert self.row_id(["ab", "c", *ROW[2:]]) != self.row_id(["a", "bc", *ROW[2:]])

    def test_the_same_row_about_another_account_or_action_is_another_event(self) -> None:
        """Two accounts' exports may hold equal rows (a day and a number); they must not count once."""
        columns, cells = ["occurred_at", "quantity"], ["2026-06-22", "5"]
        common = ["platform=twitter", "action=like"]
        shared = ["platform=twitter", "action=share", "account=GansuTravel"]
        ids = {
            self.row_id(cells, columns, kind="interaction", sets=[*common, "account=GansuTravel"]),
            self.row_id(cells, columns, kind="interaction", sets=[*common, "account=GansuHeritage"]),
            self.row_id(cells, columns, kind="interaction", sets=shared),
            self.row_id(cells, columns, kind="interaction", sets=[*shared, "post_id=p1"]),
        }  # fmt: skip
        assert len(ids) == 4

    def test_a_further_description_does_not_make_another_event(self) -> None:
        """Loading again with the campaign or hashtags added counts nothing twice."""
        assert self.row_id(ROW) == self.row_id(ROW, sets=["campaign=fuxi-ceremony-2026", "language=en"])
