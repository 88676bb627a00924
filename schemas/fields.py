"""The field types of events: their limits, and the normal form of each.

Each type is an ``Annotated`` with limits (lengths, ranges) and a normaliser (``AfterValidator``). Two readers
use them: pydantic, and ``schemas.structs``, which derives the fast decoder.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import AfterValidator, Strict
from pydantic_core import PydanticCustomError

from schemas.hashtags import HashtagError, split
from schemas.reasons import Reason

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_MS = 946_684_800_000  # 2000-01-01: smaller numbers are usually seconds, sent by mistake
LATEST_MS = 4_102_444_800_000  # 2100-01-01
MAX_HASHTAGS = 50
MAX_QUANTITY = 1_000_000_000
MAX_VALUE = 10**15
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:(\d{2})(\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def reject(reason: Reason, detail: str) -> PydanticCustomError:
    """An error that pydantic reports with our reason as its type."""
    # pydantic's templates give braces a meaning, and the detail may quote what a client sent.
    return PydanticCustomError(reason.value, "{detail}", {"detail": detail})


def parse_time(value: int | str) -> int:
    """The epoch milliseconds of a time given as RFC 3339 text or as epoch milliseconds.

    Fractions finer than a millisecond are cut. A leap second counts as the second after it.
    """
    if isinstance(value, str):
        match = _RFC3339.fullmatch(value)
        if not match:
            raise reject(Reason.BAD_TIME, "not an RFC 3339 time with an offset, such as 2026-06-22T09:30:00Z")
        leap = match[1] == "60"
        # Padded to 6 digits, since Python versions differ in the fractions that fromisoformat accepts.
        text = value[:17] + ("59" if leap else match[1])
        fraction = (match[2] or ".0")[1:7].ljust(6, "0")
        offset = value[19 + len(match[2] or "") :].upper().replace("Z", "+00:00")
        try:
            moment = datetime.fromisoformat(f"{text}.{fraction}{offset}") + timedelta(seconds=leap)
            value = (moment - EPOCH) // timedelta(milliseconds=1)
        except (ValueError, OverflowError):
            raise reject(Reason.BAD_TIME, "no such day, time or offset") from None
    if not EARLIEST_MS <= value < LATEST_MS:
        raise reject(
            Reason.BAD_TIME, "outside the years 2000 to 2099; a number is epoch milliseconds, not seconds"
        )
    return value


def clean_text(value: str) -> str:
    """The text in NFC. Unprintable characters, and white space at either end, are errors."""
    if not value.isascii():
        value = unicodedata.normalize("NFC", value)
    if not value.isprintable() or value != value.strip():
        raise reject(Reason.BAD_CHARACTERS, "has control characters, or white space at an end")
    return value


def clean_name(value: str) -> str:
    """A name for people, in NFC. It may contain emoji joiners, but no control characters."""
    value = unicodedata.normalize("NFC", value)
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in value):
        raise reject(Reason.BAD_CHARACTERS, "has control characters")
    return value


def clean_account(value: str) -> str:
    """A handle without its leading @."""
    value = clean_text(value).removeprefix("@")
    if value != value.lstrip():
        raise reject(Reason.BAD_CHARACTERS, "has white space after @")
    if not value:
        raise reject(Reason.TOO_SHORT, "an account needs at least one character after @")
    return value


def clean_platform(value: str) -> str:
    """A platform in lower case: letters, digits, dot, dash and underscore."""
    ascii_only, value = value.isascii(), value.lower()  # in this order: the Kelvin sign becomes a k
    if not ascii_only or not value.replace("_", "a").replace("-", "a").replace(".", "a").isalnum():
        raise reject(Reason.BAD_VALUE, "a platform is letters, digits, '.', '-' and '_', such as twitter")
    return value


def account_name(text: str) -> tuple[str, str]:
    """Platform and account, in normal form, of platform:account. Raises ValueError, one line."""
    platform, colon, account = text.partition(":")
    if not (platform and colon and account):
        raise ValueError(f"{text!r} is not platform:account, such as twitter:GansuTravel")
    try:
        return clean_platform(platform), clean_account(account)
    except PydanticCustomError as error:
        raise ValueError(f"{text!r}: {error.message()}") from None


def clean_country(value: str) -> str:
    """An ISO 3166-1 alpha-2 code in upper case. Only its form is checked."""
    ascii_only, value = value.isascii(), value.upper()
    if not (ascii_only and value.isalpha()):
        raise reject(Reason.BAD_VALUE, "a country is its ISO 3166-1 code of two letters, such as CN")
    return value


def clean_language(value: str) -> str:
    """A BCP 47 tag in lower case, such as en or zh-hans. Only its form is checked."""
    value = value.lower()
    if not value.isascii() or not value.replace("-", "").isalnum():
        raise reject(Reason.BAD_VALUE, "a language is a BCP 47 tag, such as en or zh-Hans")
    return value


def clean_hashtags(values: Any) -> tuple[str, ...]:
    """Each distinct hashtag once, in canonical form, in order of first appearance; joined ones are split."""
    try:
        found = tuple(dict.fromkeys([tag for value in values for tag in split(value)]))
    except HashtagError as error:
        raise reject(Reason.BAD_HASHTAG, str(error)) from None
    if len(found) > MAX_HASHTAGS:
        raise reject(Reason.BAD_HASHTAG, f"{len(found)} hashtags in all, where at most {MAX_HASHTAGS} may be")
    return found


Text = Annotated[str, Strict(), MinLen(1), MaxLen(200), AfterValidator(clean_text)]
Name = Annotated[str, Strict(), MinLen(1), MaxLen(300), AfterValidator(clean_name)]
Account = Annotated[str, Strict(), MinLen(1), MaxLen(200), AfterValidator(clean_account)]
Platform = Annotated[str, Strict(), MinLen(1), MaxLen(40), AfterValidator(clean_platform)]
Country = Annotated[str, Strict(), MinLen(2), MaxLen(2), AfterValidator(clean_country)]
Language = Annotated[str, Strict(), MinLen(2), MaxLen(35), AfterValidator(clean_language)]
RawHashtag = Annotated[str, Strict(), MaxLen(300)]
Hashtags = Annotated[tuple[RawHashtag, ...], MaxLen(MAX_HASHTAGS), AfterValidator(clean_hashtags)]
Time = Annotated[Annotated[int, Strict()] | Annotated[str, Strict()], AfterValidator(parse_time)]
Quantity = Annotated[int, Strict(), Ge(1), Le(MAX_QUANTITY)]
Value = Annotated[int, Strict(), Ge(0), Le(MAX_VALUE)]
Flag = Annotated[bool, Strict()]
