"""Folding: what looks like one hashtag becomes one text (docs/hashtags.md).

Character by character, then by neighbours. Only the Unicode database of Python decides, so a newer Python may
fold characters that an older one does not know yet.
"""

from __future__ import annotations

import unicodedata

_ZWNJ, _ZWJ, _BLACK_FLAG = "\u200c", "\u200d", "\U0001f3f4"
_JOINERS = _ZWNJ + _ZWJ
#: Default_Ignorable_Code_Point of Unicode: these have no shape of their own. Inclusive ranges.
IGNORABLE = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
#: The flags of England, Scotland and Wales are a black flag and these.
FLAG_TAGS = (0xE0020, 0xE007F)
#: How a compatibility character relates to its plain form, where that changes what a person reads: x² is not
#: x2, and ½ is no word.
_UNSAFE = ("<super>", "<sub>", "<fraction>", "<noBreak>")
#: Arabic letters that do not join the letter after them: a non-joiner behind one shows nothing.
NOT_JOINING_ON = (
    (0x0621, 0x0625), (0x0627, 0x0627), (0x0629, 0x0629), (0x062F, 0x0632), (0x0648, 0x0648),
    (0x0671, 0x0677), (0x0688, 0x0699), (0x06C0, 0x06C0), (0x06C3, 0x06CB), (0x06CD, 0x06CD),
    (0x06CF, 0x06CF), (0x06D2, 0x06D5), (0x06EE, 0x06EF), (0x0759, 0x075B), (0x076B, 0x076C),
    (0x0771, 0x0771), (0x0773, 0x0774), (0x0778, 0x0779), (0x08AA, 0x08AE), (0x08B1, 0x08B2),
)  # fmt: skip
ARABIC = ((0x0620, 0x06FF), (0x0750, 0x077F), (0x08A0, 0x08FF))
#: Combining class of a virama, behind which a joiner chooses the shape of a conjunct.
_VIRAMA = 9


def fold(text: str) -> str:
    """The text in its folded form, which folds to itself: see docs/hashtags.md."""
    while (folded := _fold(text)) != text:
        text = folded
    return folded


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFC", text).translate(_PLAIN)
    # A capital dotted I folds to an i with a dot above, which looks like the i that it already has.
    plain = plain.casefold().replace("i\u0307", "i")
    if _ZWNJ in plain or _ZWJ in plain or any(map(_is_flag_tag, plain)):
        plain = _without_idle_joiners(plain)
    return unicodedata.normalize("NFC", plain)


class _Plain(dict[int, str | None]):
    """Code point -> its plain form; None for what has no shape. Filled as characters come."""

    def __missing__(self, code: int) -> str | None:
        found = self[code] = _plain_form(code)
        return found


def _plain_form(code: int) -> str | None:
    char = chr(code)
    if char in _JOINERS or _is_flag_tag(char):
        return char  # its neighbours decide
    if within(code, IGNORABLE):
        return None
    tag = unicodedata.decomposition(char).partition(" ")[0]
    if not tag.startswith("<") or tag in _UNSAFE:
        return char
    plain = unicodedata.normalize("NFKC", char)
    return plain if all(unicodedata.category(each)[0] in "LM" or each.isdecimal() for each in plain) else char


_PLAIN = _Plain()


def within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    """Whether a code point is in one of the ranges."""
    return any(first <= code <= last for first, last in ranges)


def _is_flag_tag(char: str) -> bool:
    return FLAG_TAGS[0] <= ord(char) <= FLAG_TAGS[1]


def _without_idle_joiners(text: str) -> str:
    """Leave out joiners and tags that change nothing that a person sees."""
    kept: list[str] = []
    for at, char in enumerate(text):
        if char in _JOINERS:
            if not _joins(char, kept, text[at + 1 :]):
                continue
        elif _is_flag_tag(char) and not (kept and (kept[-1] == _BLACK_FLAG or _is_flag_tag(kept[-1]))):
            continue
        kept.append(char)
    return "".join(kept)


def _joins(joiner: str, before: list[str], after: str) -> bool:
    """Whether a joiner between these has a meaning."""
    if not before or not after:
        return False
    last, following = before[-1], after[0]
    if unicodedata.combining(last) == _VIRAMA:
        return unicodedata.category(following)[0] == "L"
    if joiner == _ZWJ:
        return _is_pictograph(last) and _is_pictograph(following)
    letter = next((char for char in reversed(before) if unicodedata.category(char)[0] != "M"), "")
    return (
        letter != ""
        and _is_arabic_letter(letter)
        and not within(ord(letter), NOT_JOINING_ON)
        and _is_arabic_letter(following)
        and following != "\u0621"
    )


def _is_pictograph(char: str) -> bool:
    return unicodedata.category(char) in ("So", "Sm") or "\U0001f3fb" <= char <= "\U0001f3ff"


def _is_arabic_letter(char: str) -> bool:
    return within(ord(char), ARABIC) and unicodedata.category(char)[0] == "L"
