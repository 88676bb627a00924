"""Why an event is rejected: a closed list, used in HTTP answers, dead letters and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The reason of a rejection. New members may be added; the meaning of a member never changes."""

    NOT_JSON = "not_json"  # the bytes are not JSON
    NOT_UTF8 = "not_utf8"  # the bytes are not UTF-8, or hold lone surrogates
    NOT_AN_OBJECT = "not_an_object"  # JSON, but not an object, as an event must be
    TOO_DEEP = "too_deep"  # nested deeper than any event
    REPEATED_KEY = "repeated_key"  # a key occurs twice, so its value is ambiguous
    UNKNOWN_KIND = "unknown_kind"  # `kind` is not an accepted kind
    UNKNOWN_FIELD = "unknown_field"  # a field that the kind does not have
    MISSING_FIELD = "missing_field"  # a field that the kind needs
    WRONG_TYPE = "wrong_type"  # for example a text where a number is needed
    BAD_VALUE = "bad_value"  # not one of the listed values, or in the wrong form
    OUT_OF_RANGE = "out_of_range"  # a number that is too small or too large
    TOO_SHORT = "too_short"  # an empty text
    TOO_LONG = "too_long"  # a text or list over its limit
    BAD_TIME = "bad_time"  # neither RFC 3339 with an offset nor epoch milliseconds since 2000
    AHEAD_OF_CLOCK = "ahead_of_clock"  # further in the future than allowed
    BAD_CHARACTERS = "bad_characters"  # control characters in a name or id
    BAD_HASHTAG = "bad_hashtag"  # not a hashtag: empty, too long, or with white space
    UNSUPPORTED_VERSION = "unsupported_version"  # written for another version of the contract
    NOT_ALLOWED = "not_allowed"  # outside of what the key may write, or not one of the own accounts
    TOO_LARGE = "too_large"  # one event over the size that a record may have


@dataclass(frozen=True, slots=True)
class Rejection:
    """One rejected event. ``field`` is a dotted path, or empty for the event as a whole."""

    field: str
    reason: Reason
    detail: str
