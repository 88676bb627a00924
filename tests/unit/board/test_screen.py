"""The board fits every terminal, and says what matters in the smallest that people use."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from fanpulse.board import glyphs, plain, wording
from fanpulse.board.live import Frame, LineDisplay, ScreenDisplay, display
from fanpulse.board.model import AlertLine, Board, Row, Snapshot
from fanpulse.board.screen import DemoProgress, Health, ViewContext, compose
from fanpulse.simulate.organisation import BROADCAST_ID, MINUTE_MS, START_MS
from fanpulse.simulate.scenario import Scenario
from schemas.alerts import Milestone, Spike
from tests.support.board_stream import ALIAS_TABLE, WRITTEN_MS, Publisher, thinned

SERVICES = ("kafka", "ingest", "aggregate", "alerts", "prometheus")
CONTEXT = ViewContext(
    title="demo",
    health=[Health(name, "up") for name in SERVICES],
    demo_progress=DemoProgress(0.6, 72_997, 72_660, 337, "60x"),
    hint="Ctrl-C stops",
)


@lru_cache(maxsize=1)
def live() -> Snapshot:
    """The scenario at 09:44, a minute after its first moment, with a spike and a milestone."""
    board = Board(ALIAS_TABLE)
    Publisher(board, partitions=1).play(thinned(Scenario(minutes=74).items, 8))
    start_ms = START_MS + 71 * MINUTE_MS
    spike = Spike(
        id="s", rule="r", scope="broadcast", subject=(BROADCAST_ID,), metric="interactions",
        occurred_at=start_ms, decided_at=0, as_of=(), text="t", number=1, observed=2_273, baseline=334.0,
        window_minutes=30, factor=6.8,
    )  # fmt: skip
    milestone = Milestone(
        id="m", rule="r", scope="all_accounts", subject=(), metric="reading:followers", occurred_at=start_ms,
        decided_at=0, as_of=(), text="t", threshold=1_000_000, total=1_000_004,
    )  # fmt: skip
    for alert in (spike, milestone):
        board.apply_alert(alert.id.encode(), alert.model_dump_json().encode())
    return board.snapshot(WRITTEN_MS + 500)


def drawn(snapshot: Snapshot, context: ViewContext, width: int, height: int) -> list[str]:
    return [line.plain for line in compose(snapshot, context, width, height)]


def empty() -> Snapshot:
    return Board(ALIAS_TABLE).snapshot(0)


@pytest.mark.parametrize("snapshot", [live, empty], ids=["live", "empty"])
@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 45), (240, 70), (132, 24), (40, 12), (20, 5)])
def test_the_board_fills_the_terminal_exactly(snapshot: object, size: tuple[int, int]) -> None:
    """As many lines as it has, each as wide as it is, in cells: a Chinese character takes two."""
    width, height = size
    assert callable(snapshot)
    lines = drawn(snapshot(), CONTEXT, width, height)
    assert len(lines) == height
    assert {cell_len(line) for line in lines} == {width}


@settings(max_examples=60)
@given(st.integers(1, 260), st.integers(1, 90), st.booleans())
def test_no_size_breaks_it(width: int, height: int, playing: bool) -> None:
    """Also where there is room for nothing."""
    context = CONTEXT if playing else ViewContext()
    for snapshot in (live(), empty()):
        lines = drawn(snapshot, context, width, height)
        assert len(lines) == height
        assert {cell_len(line) for line in lines} == {width}


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 45)])
def test_what_matters_is_there_at_every_usual_size(size: tuple[int, int]) -> None:
    """Clock, age, events, phase, viewers, accounts, hashtags, alerts and services."""
    text = "\n".join(drawn(live(), CONTEXT, *size))
    for words in (
        "2026-06-22 09:43:59", "data 0.5 s old", " LIVE 0:13:59 ", "Fuxi Grand Ceremony, Tianshui 公祭伏",
        "viewers", "gansu.heritage", "#LinxiaApricot", "6.8x normal: 2,273/min, was 334",
        "all accounts 1,000,000 followers", "1 milestone, 1 spike", "● aggregate", "60%", "sent 72,997",
    ):  # fmt: skip
        assert words in text, words


def test_each_figure_of_the_snapshot_is_in_its_cell() -> None:
    """A row shows followers and activity of its account, and the last row those of all accounts."""
    lines = drawn(live(), CONTEXT, 120, 40)
    for row in live().accounts:
        (cells,) = [line.split() for line in lines if line.split()[:2] == [row.platform, row.name]]
        assert (cells[2], cells[8], cells[9]) == figures(row)
    (cells,) = [line.split() for line in lines if line.split()[:1] == ["all"]]
    assert (cells[1], cells[7], cells[8]) == figures(live().all_accounts)


def figures(row: Row) -> tuple[str, str, str]:
    """Followers, activity and activity in the last minute, as they are written."""
    return f"{row.followers:,}", f"{row.activity:,}", f"{row.per_minute:,}"


def test_trouble_is_said_in_words() -> None:
    """A service that is down, old data and lost answers show without any colour."""
    demo_progress = replace(CONTEXT.demo_progress or DemoProgress(0, 0, 0, 0), retry_reason="ConnectError")
    context = replace(
        CONTEXT, health=[Health("ingest", "down"), Health("alerts", "starting")], demo_progress=demo_progress
    )
    text = "\n".join(drawn(replace(live(), age_seconds=75.0), context, 100, 30))
    for words in (
        "✗ ingest down",
        "◌ alerts starting",
        "STALE: data 75 s old",
        "retrying: ConnectError",
    ):
        assert words in text


def test_only_broken_data_is_red() -> None:
    """Red says that something is broken, so nothing is red while all is well and what is old is red."""
    for snapshot, red in ((live(), []), (replace(live(), age_seconds=75.0), ["STALE: data 75 s old"])):
        spans = [
            line.plain[span.start : span.end].strip()
            for line in compose(snapshot, CONTEXT, 100, 30)
            for span in line.spans
            if "red" in str(span.style)
        ]
        assert spans == red


def rendered(environment: dict[str, str], width: int = 100, height: int = 30) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, _environ=environment
    )
    console.print(Frame(live(), CONTEXT, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_no_color_is_respected() -> None:
    """With NO_COLOR there is no colour in the output; without it there is."""
    assert colours(rendered({"TERM": "xterm-256color"})) >= {"34", "36"}
    assert colours(rendered({"TERM": "xterm-256color", "NO_COLOR": "1"})) == set()


def colours(text: str) -> set[str]:
    """Codes of escape sequences that set a colour, also beside other codes."""
    codes = {code for found in re.findall(r"\x1b\[([\d;]*)m", text) for code in found.split(";")}
    return {code for code in codes if len(code) > 1}


def test_a_frame_is_as_large_as_the_terminal() -> None:
    """Drawn on the whole screen, it has the terminal's lines and does not scroll it."""
    text = rendered({"TERM": "dumb"}, 90, 26)
    lines = text.split("\n")
    assert len(lines) == 26
    assert {cell_len(line) for line in lines} == {90}


def test_the_display_fits_the_output() -> None:
    """A screen on a terminal; lines in a file or a pipe, each alert among them."""
    board = Board(ALIAS_TABLE)
    terminal = Console(file=io.StringIO(), force_terminal=True)
    assert isinstance(display(terminal, board, lambda: CONTEXT), ScreenDisplay)
    file = io.StringIO()
    lines = display(Console(file=file), board, lambda: CONTEXT)
    assert isinstance(lines, LineDisplay)
    lines.alert(AlertLine("spike", START_MS, "6.8x normal: 2,273/min, was 334"))
    assert file.getvalue() == "08:30:00 UTC  SPIKE  6.8x normal: 2,273/min, was 334\n"


def test_a_summary_is_one_line_that_says_where_it_stands() -> None:
    """Event time, counts, the broadcast; and what is wrong, only if something is."""
    line = plain.summary(live(), CONTEXT)
    assert "\n" not in line
    assert line.startswith(f"09:43:59 UTC  {live().counted:,} events counted (")
    assert "LIVE 0:13:59" in line
    assert "up" not in line.split()
    troubled = replace(CONTEXT, health=[Health("ingest", "down")])
    assert plain.summary(live(), troubled).endswith("ingest down")
    assert plain.summary(empty(), CONTEXT) == "waiting for the first events"


@pytest.mark.parametrize(
    ("values", "width", "wanted"),
    [((), 3, "   "), ((0, 1, 8), 3, " ▁█"), ((1, 1000), 4, "  ▁█"), ((5, 0, 5, 0), 2, "█ "), ((7,), 0, "")],
)
def test_sparklines(values: Sequence[int], width: int, wanted: str) -> None:
    """The newest values, by the greatest; what is not 0 shows as something."""
    assert glyphs.sparkline(values, width) == wanted


@given(st.lists(st.integers(0, 10**7), max_size=50), st.integers(1, 12))
def test_columns_are_as_high_as_their_share(values: list[int], height: int) -> None:
    """Each column fills its eighths from below, without a gap, and 0 alone is empty."""
    most = max(values, default=1) or 1
    lines = glyphs.columns(values, height, most)
    assert [len(line) for line in lines] == [len(values)] * height
    for index, value in enumerate(values):
        levels = [glyphs.EIGHTHS.index(line[index]) for line in reversed(lines)]
        assert sum(levels) == (max(1, round(value / most * 8 * height)) if value else 0)
        assert levels == sorted(levels, reverse=True)


@given(st.integers(0, 10**12))
def test_a_scale_ends_at_a_round_number_that_is_not_far_above(value: int) -> None:
    """At least the value, and (from 7 on) less than half as much again."""
    top = glyphs.round_up(value)
    assert top >= value
    assert top < 1.5 * max(value, 7)
    assert str(top).rstrip("0") in {"1", "12", "15", "2", "25", "3", "4", "5", "6", "8"}


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (0, "0"), (950, "950"), (999, "999"), (1_000, "1k"), (1_234, "1.23k"), (12_345, "12.3k"),
        (999_499, "999k"), (999_500, "1M"), (1_250_000, "1.25M"), (2 * 10**9, "2G"), (7 * 10**13, "70T"),
    ],
)  # fmt: skip
def test_compact_numbers(count: int, wanted: str) -> None:
    """Three figures and a unit."""
    assert wording.compact(count) == wanted


@given(st.integers(0, 10**14))
def test_compact_numbers_fit_their_cell(count: int) -> None:
    """At most five characters, whatever the count."""
    assert len(wording.compact(count)) <= 5


@pytest.mark.parametrize(
    ("seconds", "wanted"), [(0.04, "0.0 s"), (9.9, "9.9 s"), (12, "12 s"), (300, "5 min"), (10_800, "3 h")]
)
def test_ages(seconds: float, wanted: str) -> None:
    """In the unit that people would say."""
    assert wording.age(seconds) == wanted
