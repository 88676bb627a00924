"""One visible hashtag is one text; what looks different stays apart. docs/hashtags.md has the vectors."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_one
from schemas.fields import MAX_HASHTAGS
from schemas.folding import fold
from schemas.hashtags import MAX_LENGTH, HashtagError, canonical, canonical_glob, marked, split
from schemas.reasons import Reason, Rejection
from schemas.structs import Interaction

PAGE = Path(__file__).parents[3] / "docs" / "hashtags.md"
_ESCAPE = re.compile(r"\{([0-9A-F]{4,6})\}")


def vectors(heading: str) -> list[tuple[str, str]]:
    """The rows of a table of the page: (as written, as counted)."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.*?) \|", section, re.MULTILINE)
    assert rows, heading
    return [(unescaped(written), unescaped(counted.replace("`", ""))) for written, counted in rows]


def unescaped(text: str) -> str:
    """`{200B}` stands for a character that cannot be seen."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


@pytest.mark.parametrize(("written", "counted"), vectors("One hashtag"))
def test_vector(written: str, counted: str) -> None:
    """Each row of the first table."""
    assert ", ".join(split(written)) == counted


@pytest.mark.parametrize(("written", "counted"), vectors("In a running text"))
def test_vector_of_a_text(written: str, counted: str) -> None:
    """Each row of the second table."""
    assert (", ".join(marked(written)) or "none") == counted


@pytest.mark.parametrize(
    "text", ["", "#", "##", " # ", "#...", "#\u200b", "\u20e3", "#a b", "a\tb", "#a\x00"]
)
def test_what_is_no_hashtag(text: str) -> None:
    """Nothing is left, or there is white space or a control character in it."""
    with pytest.raises(HashtagError):
        split(text)


def test_length() -> None:
    """What is dropped does not count."""
    assert canonical("#" + "伏" * MAX_LENGTH + "\u200b!") == "伏" * MAX_LENGTH
    with pytest.raises(HashtagError, match="at most 140"):
        canonical("a" * (MAX_LENGTH + 1))


def test_one_is_wanted() -> None:
    """A setting that names a hashtag names one."""
    with pytest.raises(HashtagError, match="2 hashtags: a, b"):
        canonical("#a#b")


def test_globs_keep_their_wildcards() -> None:
    """Also at the ends, where punctuation would be trimmed."""
    assert canonical_glob("#Gansu*") == "gansu*"
    assert canonical_glob("*Straße?") == "*strasse?"
    assert canonical_glob("[GH]ansu") == "[GH]ansu"
    assert canonical_glob("#Ｆｕｘｉ.") == "fuxi"


def test_an_event_has_each_hashtag_once() -> None:
    """Joined ones are split, and there is still a bound on how many there are."""
    event = decode_one(like(["#FuxiCeremony#伏羲大典", "fuxiceremony\u200b", "#伏羲大典。"]))
    assert isinstance(event, Interaction)
    assert event.hashtags == ("fuxiceremony", "伏羲大典")
    many = "#".join(f"a{number}" for number in range(MAX_HASHTAGS + 1))
    rejection = decode_one(like([many]))
    assert isinstance(rejection, Rejection)
    assert (rejection.field, rejection.reason) == ("hashtags", Reason.BAD_HASHTAG)
    assert "51 hashtags in all" in rejection.detail


def like(hashtags: list[str]) -> bytes:
    """A like with these hashtags."""
    event = {
        "kind": "interaction", "event_id": "tw-1", "occurred_at": "2026-06-22T09:30:00Z", "action": "like",
        "platform": "twitter", "account": "GansuTravel", "hashtags": hashtags,
    }  # fmt: skip
    return json.dumps(event).encode()


CHARACTERS = st.characters(exclude_categories=("Cs", "Cn", "Co"))
JOINED = st.sampled_from("\u200c\u200dسرءم\u094d\u0915❤🔥🏻🏴\U000e0067\U000e007f\ufe0f\u0307iIİı#＃.،_")


@given(st.text(CHARACTERS | JOINED, max_size=12))
def test_folding_is_idempotent(text: str) -> None:
    """What is folded stays as it is, in every reader; so a hashtag of the log means itself in a setting."""
    assert fold(fold(text)) == fold(text)
    try:
        found = split(text)
    except HashtagError:
        return
    for tag in found:
        assert split(tag) == (tag,)
        assert canonical(tag) == tag


def test_case_and_width_never_part_a_word() -> None:
    """Upper and lower case, full width and decomposed letters are one."""
    draw = random.Random(15)
    letters = [chr(code) for code in range(0x250) if chr(code).isalpha()]
    for _ in range(2_000):
        word = "".join(draw.choices(letters, k=6))
        spellings = {word, word.casefold(), unicodedata.normalize("NFD", word), wide(word)}
        assert len({split(each) for each in spellings}) == 1, word


def wide(text: str) -> str:
    """ASCII in full width."""
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)
