"""What others chose, made fit for people's eyes: names, titles, hashtags and sources come from senders.

Escaped are characters that steer a terminal, reorder or hide what is around them, or cannot be seen. What
writing needs stays: all scripts, marks, emoji with their joiners and variation selectors. What is printable
already is not changed.
"""

from __future__ import annotations

import re

#: C0 and C1 controls but newline and tab; lone surrogates; bidi marks, overrides and isolates; separators
#: that break lines; characters without a width or a shape; tags; what is no character.
_UNFIT = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e00ff\U000f0000-\U0010ffff"
)
_UNFIT_CHARACTER = re.compile(f"[{_UNFIT}]")
_UNFIT_IN_A_LINE = re.compile(f"[{_UNFIT}\n\t]")
#: More than a few marks on one character cover the lines above and below it.
_MARK = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_PILED_MARKS = re.compile(f"({_MARK}{{4}}){_MARK}+")
#: What a spreadsheet takes for a formula, at the beginning of a cell.
_FORMULA = re.compile(r"\s*[=+\-@\t\r\uff0b\uff0d\uff1d\uff20]")


def printable(text: str) -> str:
    """The text with unfit characters as ``\\u{202e}``; newlines and tabs stay."""
    return _PILED_MARKS.sub(r"\1", _UNFIT_CHARACTER.sub(_shown, text))


def printable_line(text: str) -> str:
    """The text on one line: newlines and tabs are escaped too."""
    return _PILED_MARKS.sub(r"\1", _UNFIT_IN_A_LINE.sub(_shown, text))


def printable_json(encoded: str) -> str:
    """The same JSON with unfit characters as JSON escapes; its values do not change."""
    return _UNFIT_CHARACTER.sub(_json_escape, encoded)


def spreadsheet_cell(value: object) -> object:
    """A cell of a CSV file that no spreadsheet runs: what looks like a formula gets an apostrophe in front.

    Numbers stay numbers. Take the apostrophe off to have the text again.
    """
    if not isinstance(value, str):
        return value
    text = printable_line(value)
    return f"'{text}" if _FORMULA.match(text) else text


def _shown(match: re.Match[str]) -> str:
    return f"\\u{{{ord(match[0]):x}}}"


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
