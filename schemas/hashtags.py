"""Hashtags: their canonical form, and alias groups that make a language pair one hashtag."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import takewhile

from schemas.folding import fold

#: How a hashtag is marked: #, and the same in full and small width.
SIGNS = "#\uff03\ufe5f"
MAX_LENGTH = 140
_SPLIT = re.compile(f"[{SIGNS}]")
_FOLDED = re.compile(r"[a-z0-9_]+", re.ASCII)
#: In a running text a sign marks a hashtag unless it belongs to a word or an address ("C#", "/page#top").
_NO_MARK_AFTER = "/&="
#: Punctuation that belongs to words, as in twitter-text: Catalan, Hebrew, Tibetan, Cyrillic, Japanese.
_WORD_PUNCTUATION = frozenset(
    "\u00b7\u05be\u05f3\u05f4\u0f0b\u0f0c\u301c\u3003\u309b\u309c\u30a0\u30fb\ua67e\uff5e"
)
#: Of a glob, what stands for other characters.
_WILDCARDS = re.compile(r"([*?]|\[[^\]]*\])")


class HashtagError(ValueError):
    """The text is not a hashtag."""


class AliasError(ValueError):
    """Two alias groups contain the same hashtag."""


def canonical(text: str) -> str:
    """The form under which a hashtag is counted, without its sign (docs/hashtags.md).

    Raises HashtagError if nothing is left, if there are several, if it contains white space or a control
    character, or if it is longer than MAX_LENGTH characters.
    """
    found = split(text)
    if len(found) > 1:
        raise HashtagError(f"these are {len(found)} hashtags: {', '.join(found)}")
    return found[0]


@lru_cache(maxsize=16_384)
def split(text: str) -> tuple[str, ...]:
    """The hashtags of a text that holds nothing else, at least one: joined ones are split at their signs.

    Raises HashtagError.
    """
    if _FOLDED.fullmatch(text) and len(text) <= MAX_LENGTH:
        return (text,)
    found = tuple(dict.fromkeys(filter(None, map(_one, _SPLIT.split(text)))))
    if not found:
        raise HashtagError("a hashtag needs a letter, a digit or a symbol")
    return found


@lru_cache(maxsize=16_384)
def is_blank(text: str) -> bool:
    """Whether a text is no hashtag because nothing of it is left: it is signs and punctuation."""
    return not any(_trimmed(fold(part)) for part in _SPLIT.split(text))


def marked(text: str) -> tuple[str, ...]:
    """The hashtags that a running text marks by a sign, each once.

    White space, punctuation and symbols end one. Digits alone are a number ("we are #1").
    """
    found: dict[str, None] = {}
    for word in text.split():
        if "://" in word:
            continue
        before, *parts = _SPLIT.split(word)
        if before and (before[-1].isalnum() or before[-1] in _NO_MARK_AFTER):
            continue
        for part in parts:
            run = "".join(takewhile(_belongs_to_a_word, part))
            tag = _one(run) if len(run) <= MAX_LENGTH else ""
            if tag and not tag.isdecimal():
                found[tag] = None
    return tuple(found)


def _belongs_to_a_word(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] in "LMN" or category in ("Pc", "Cf") or char in _WORD_PUNCTUATION


def canonical_glob(text: str) -> str:
    """A glob in the form in which hashtags are counted; its wildcards stay. Raises HashtagError."""
    pieces = _WILDCARDS.split(text.strip().lstrip(SIGNS))
    if len(pieces) == 1:
        return canonical(text)
    return "".join(piece if at % 2 else fold(piece) for at, piece in enumerate(pieces))


def _one(text: str) -> str:
    """One hashtag; an empty text if there is none. Raises HashtagError."""
    tag = _trimmed(fold(text))
    if len(tag) > MAX_LENGTH:
        raise HashtagError(f"a hashtag has at most {MAX_LENGTH} characters")
    if any(char.isspace() or unicodedata.category(char) in ("Cc", "Cs") for char in tag):
        raise HashtagError("a hashtag has no white space or control characters")
    return tag


def _trimmed(text: str) -> str:
    """Without what stands around a hashtag: white space, punctuation, and marks that lack their letter."""
    first, end = 0, len(text)
    while first < end and _stands_around(text[first], marks=True):
        first += 1
    while first < end and _stands_around(text[end - 1], marks=False):
        end -= 1
    return text[first:end]


def _stands_around(char: str, *, marks: bool) -> bool:
    category = unicodedata.category(char)
    return (category[0] == "P" and category != "Pc") or (marks and category[0] == "M") or char.isspace()


class AliasTable:
    """Alias groups: several hashtags that count as one, under a display name.

    ``groups`` maps a display name to its members. The display name itself is a member too.
    """

    def __init__(self, groups: Mapping[str, Iterable[str]] | None = None) -> None:
        self._canonical: dict[str, str] = {}
        self._display: dict[str, str] = {}
        for name, members in (groups or {}).items():
            head = canonical(name)
            self._display[head] = name.strip().lstrip(SIGNS)
            for member in (name, *members):
                tag = canonical(member)
                if self._canonical.setdefault(tag, head) != head:
                    raise AliasError(f"#{tag} is in two alias groups: {self._canonical[tag]} and {head}")

    def resolve(self, tag: str) -> str:
        """The canonical hashtag under which a canonical hashtag is counted."""
        return self._canonical.get(tag, tag)

    def resolve_all(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Each distinct hashtag once, in order of first appearance."""
        return tuple(dict.fromkeys(self._canonical.get(tag, tag) for tag in tags))

    def display(self, tag: str) -> str:
        """The name to show for a canonical hashtag."""
        return self._display.get(tag, tag)
