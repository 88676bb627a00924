"""The canonical form of hashtags, and alias groups that make a language pair one hashtag."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

SIGNS = "#＃"
MAX_LENGTH = 140


class HashtagError(ValueError):
    """The text is not a hashtag."""


class AliasError(ValueError):
    """Two alias groups contain the same hashtag."""


def canonical(text: str) -> str:
    """The form under which a hashtag is counted: NFC, casefolded, without its leading # or ＃.

    Raises HashtagError if nothing is left, if the hashtag contains white space or a control character, or if
    it is longer than MAX_LENGTH characters.
    """
    bare = text.strip().lstrip(SIGNS)
    if not (bare.isascii() and bare.islower()):
        # Casefolding can decompose characters, so NFC comes before and after it (Unicode 3.13, D146).
        bare = unicodedata.normalize("NFC", unicodedata.normalize("NFC", bare).casefold())
    if not bare:
        raise HashtagError("a hashtag needs at least one character after #")
    if len(bare) > MAX_LENGTH:
        raise HashtagError(f"a hashtag has at most {MAX_LENGTH} characters")
    if any(char.isspace() or unicodedata.category(char) in ("Cc", "Cs") for char in bare):
        raise HashtagError("a hashtag has no white space or control characters")
    return bare


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
