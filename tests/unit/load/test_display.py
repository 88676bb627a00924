"""`fanpulse load`: what a person sees."""

from __future__ import annotations

import io

from rich.console import Console

from fanpulse.cli.load_display import SHOWN_ROWS, LoadDisplay
from fanpulse.load.checkpoint import Checkpoint
from fanpulse.load.loading import RejectedRow
from fanpulse.load.parsing.times import Times
from fanpulse.load.session import FileReport


class Screen:
    """A display and what it printed."""

    def __init__(self, *, quiet: bool = False, terminal: bool = False, dedup_window: int = 1000) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        out = Console(file=self._out, width=80)
        err = Console(file=self._err, width=80, force_terminal=terminal)
        self.display = LoadDisplay(out, err, quiet=quiet, dedup_window=dedup_window)

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()


def report(rows: int = 12, rejected: int = 0) -> FileReport:
    """A file that was loaded in two seconds."""
    counts = {"bad_time": rejected} if rejected else {}
    result = Checkpoint(rows=rows, accepted=rows - rejected, rejected=counts, seconds=2.0)
    return FileReport("data/[b]posts.csv", "[b]posts.csv", "csv", result=result)


def test_a_summary_has_the_counts_and_what_was_decided_on_the_way() -> None:
    """Names are shown as they are, though brackets mean something to the console."""
    screen, done = Screen(), report(12_000, 3)
    done.ignored = ["text", "[i]"]
    done.unused_maps = {"campaign": "campain"}
    done.times = Times(zone="Asia/Shanghai")
    done.times.units["s"], done.times.without_offset = 5, 7
    screen.display.end(done)
    assert screen.out.splitlines() == [
        "[b]posts.csv (csv): 12,000 rows, 11,997 accepted, 3 rejected, 2.0 s, 6,000 rows/s",
        "  rejected: 3 bad_time",
        "  columns that fill no field: text, [i]",
        "  no row had 'campain', the source of campaign",
        "  times that are numbers, taken as epoch seconds: 5",
        "  times without an offset, taken in Asia/Shanghai: 7",
        "  duplicates are remembered for about 1,000 events: loading this file again would count rows twice",
    ]


def test_the_first_rejected_rows_are_shown_and_the_rest_is_counted() -> None:
    """A file in which every row is wrong does not flood the terminal, and the way to all of them is told."""
    screen, done = Screen(), report(30, 30)
    rows = [RejectedRow(number, "occurred_at", "bad_time", "[soon]") for number in range(2, 32)]
    for row in rows:
        screen.display.rejected(done, [row])
    lines = screen.err.splitlines()
    assert lines[0] == "[b]posts.csv:2 occurred_at bad_time: [soon]"
    assert len(lines) == SHOWN_ROWS + 1
    assert "--errors FILE" in lines[-1]


def test_quiet_says_only_what_went_wrong() -> None:
    """No progress and no summary; rejected rows and waits all the same."""
    screen, done = Screen(quiet=True), report()
    with screen.display:
        screen.display.begin(done)
        screen.display.progress(done, 1, 2)
        screen.display.rejected(done, [RejectedRow(2, "", "not_json", "x")])
        screen.display.waiting("ingest is away", 1.0)
        screen.display.waiting("ingest is away", 1.0)
        screen.display.end(done)
    assert screen.out == ""
    assert screen.err == "[b]posts.csv:2 not_json: x\ningest is away; trying again\n"


def test_a_load_that_goes_on_says_where() -> None:
    """And how to start over."""
    screen, done = Screen(), report()
    done.resumed = Checkpoint(rows=10, lines=11)
    screen.display.begin(done)
    assert "resuming after row 10 (line 11)" in screen.err
    done.resumed = Checkpoint(rows=10, lines=11, done=True)
    screen.display.begin(done)
    screen.display.end(done)
    assert "loaded before the interruption" in screen.err
    assert screen.out == ""


def test_a_terminal_has_a_bar_that_is_gone_before_the_summary() -> None:
    """With rows, rate and the time that is left."""
    screen, done = Screen(terminal=True), report()
    with screen.display:
        screen.display.begin(done)
        screen.display.progress(done, 1, 2)
        screen.display.end(done)
    assert "12 rows, " in screen.err
    assert "50%" in screen.err
    assert screen.err.rstrip().endswith("\x1b[2K")
    assert screen.out.startswith("[b]posts.csv (csv): 12 rows")
