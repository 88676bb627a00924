"""What senders choose is fit for terminals, spreadsheets and eyes."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from fanpulse.cli.console import PrintableConsole
from schemas.printable import printable, printable_json, printable_line, spreadsheet_cell
from services.runtime import logging as our_logging

CLEAR = "\x1b[2J\x1b]0;owned\x07"
HOSTILE = (
    CLEAR,
    "\x9b31m",
    "a\u202egnp.exe",
    "x\u2066y\u2069",
    "zero\u200bwidth",
    "\u3164",
    "\U000e0041",
    "\r1",
    "\x7f",
)
NAMES = (
    "#文化和自然遗产日", "#FuxiCeremony 伏羲大典", "👨‍👩‍👧‍👦 ❤️ 🇨🇳", "مرحبا", "שלום", "नमस्ते", "ไทย",
    "Ελληνικά", "é e\u0301",
    "می‌خواهم",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_people_write_stays(name: str) -> None:
    """All scripts, and emoji with what joins and colours them."""
    assert printable(name) == printable_line(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_what_steers_hides_or_reorders_is_escaped(name: str) -> None:
    """It shows as its code point, in a terminal as in JSON, where its value stays."""
    shown = printable_line(name)
    assert shown.isprintable()
    assert "\\u{" in shown
    encoded = printable_json(json.dumps(name, ensure_ascii=False))
    assert json.loads(encoded) == name
    assert encoded.isprintable()


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_is_made_printable_once(text: str) -> None:
    """No control is left, and a second time changes nothing."""
    shown = printable(text)
    assert not any(unicodedata.category(char) == "Cc" for char in shown.replace("\n", "").replace("\t", ""))
    assert printable(shown) == shown
    assert json.loads(printable_json(json.dumps(text, ensure_ascii=False))) == text


def test_marks_do_not_pile_up() -> None:
    """Four on a character are more than any language needs; a hundred cover the screen."""
    assert len(printable("z" + "\u0334" * 100)) == 5


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_that_a_console_prints_steers_it(hostile: str) -> None:
    """In a line, a table, a styled text and markup; its own colours stay."""
    out = io.StringIO()
    console = PrintableConsole(file=out, force_terminal=True, width=200, highlight=False)
    table = Table(title=hostile)
    table.add_column(hostile)
    table.add_row(Text(f"GansuTravel {hostile}", "bold red"))
    for renderable in (hostile, Text(hostile), table):
        console.print(renderable, markup=False)
    printed = out.getvalue()
    assert "\x1b[1;31m" in printed
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[1;31m", "\x1b[3m", "\n"):
        printed = printed.replace(code, "")
    assert printed.isprintable()


@pytest.mark.parametrize("begin", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\uff1d1"])
def test_no_cell_is_a_formula(begin: str) -> None:
    """An apostrophe makes it a text for every spreadsheet; a number stays a number."""
    cell = spreadsheet_cell(begin)
    assert isinstance(cell, str)
    assert cell[0] not in "=+-@\t\r ＝"
    rows = io.StringIO()
    csv.writer(rows).writerow([cell, spreadsheet_cell(-5), spreadsheet_cell("GansuTravel")])
    assert next(csv.reader(io.StringIO(rows.getvalue()))) == [cell, "-5", "GansuTravel"]


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_no_log_line_steers_a_terminal(fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by its event nor by a field, from our code or a library."""
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    try:
        our_logging.configure("info", fmt)  # type: ignore[arg-type]
        for number, hostile in enumerate(HOSTILE):
            logging.getLogger("library").warning("seen %s", hostile)
            # Each line is another one: those that repeat are left out.
            logging.getLogger("library").warning("seen" + "!" * number, extra={"source": hostile})
    finally:
        root.handlers[:], root.level = kept
        logging.captureWarnings(False)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2 * len(HOSTILE)
    assert all(line.isprintable() for line in lines), lines
