"""The keys file: who may send events, and what each may write. See docs/access.md."""

from __future__ import annotations

import hashlib
import re
import tomllib
from typing import Annotated, Literal

from annotated_types import Ge, Gt, MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from schemas.events import Action
from schemas.fields import MAX_QUANTITY, MAX_VALUE
from schemas.problems import meant, words
from services.ingest.pipeline.access import Bounds, KeyScope
from services.runtime.toml_lines import line_of

MOST_KEYS = 1000
_NAME = r"^[a-z0-9][a-z0-9_.-]{0,39}$"
_OF_NOTHING = hashlib.sha256(b"").hexdigest()
_HOW = "make a key with `openssl rand -hex 24`, and its hash with `printf %s KEY | sha256sum`"

Kind = Literal["interaction", "post", "reading", "broadcast"]
_Quantity = Annotated[int, Ge(1), Field(le=MAX_QUANTITY, strict=True)]


class KeysError(ValueError):
    """The keys cannot be used. The message is one line, and has no key in it."""


class Key(BaseModel):
    """One ``[[key]]`` of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=_NAME)]
    sha256: str
    accounts: Annotated[tuple[str, ...], MinLen(1)] | None = None
    kinds: Annotated[tuple[Kind, ...], MinLen(1)] | None = None
    actions: Annotated[tuple[Action, ...], MinLen(1)] | None = None
    events_per_second: Annotated[float, Gt(0), Field(allow_inf_nan=False)] | None = None
    max_quantity: _Quantity | None = None
    max_quantities: dict[Action, _Quantity] = Field(default_factory=dict)
    max_reading: Annotated[int, Ge(0), Field(le=MAX_VALUE, strict=True)] | None = None

    @field_validator("sha256")
    @classmethod
    def _is_hash(cls, value: str) -> str:
        check_hash(value)
        return value.lower()

    @field_validator("accounts")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for pattern in value or ():
            platform, colon, account = pattern.partition(":")
            if not (platform and colon and account):
                raise ValueError(f"{pattern!r} is not platform:account, such as twitter:Gansu*")
        if value is None:
            return None
        return tuple(_normal(pattern) for pattern in value)

    @property
    def scope(self) -> KeyScope:
        """What it may write."""
        return KeyScope(self.accounts, self.kinds, self.actions)

    def bounds(self, everybody: Bounds) -> Bounds:
        """Its own bounds, and those of everybody where it has none."""
        common = {} if self.max_quantity is not None else dict(everybody.by_action)
        common.update({str(action): bound for action, bound in self.max_quantities.items()})
        return Bounds(
            everybody.quantity if self.max_quantity is None else self.max_quantity,
            common,
            everybody.reading if self.max_reading is None else self.max_reading,
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: Annotated[list[Key], MinLen(1), Field(max_length=MOST_KEYS)]


def _normal(pattern: str) -> str:
    platform, _, account = pattern.partition(":")
    return f"{platform.lower()}:{account.removeprefix('@')}"


def check_hash(digest: str) -> None:
    """Raises ValueError, one line, if it is not the SHA-256 of a key."""
    if len(digest) != 64 or not all(digit in "0123456789abcdefABCDEF" for digit in digest):
        raise ValueError(f"not the SHA-256 of a key in 64 hex digits; {_HOW}")
    if digest.lower() == _OF_NOTHING:
        raise ValueError(f"the SHA-256 of an empty key, which everybody has; {_HOW}")


def read_keys(data: bytes) -> list[Key]:
    """The keys of a file. Raises KeysError."""
    try:
        text = data.decode()
        keys = _File.model_validate(tomllib.loads(text)).key
    except UnicodeDecodeError:
        raise KeysError("it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise KeysError(f"it is not TOML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise KeysError("it is nested too deep") from None
    except ValidationError as error:
        raise KeysError(_one_line(error, text)) from None
    for what in ("name", "sha256"):
        seen: dict[str, str] = {}
        for key in keys:
            value = getattr(key, what)
            if value in seen:
                raise KeysError(f"the keys {seen[value]!r} and {key.name!r} have the same {what}")
            seen[value] = key.name
    return keys


def _one_line(error: ValidationError, text: str) -> str:
    """The first problem. Values are left out: somebody may have written a key where its hash belongs."""
    first = error.errors(include_url=False)[0]
    place = first["loc"]
    if first["type"] == "missing" and place == ("key",):
        return "it has no [[key]]"
    name, line = "", line_of(text, place)
    if len(place) > 1 and isinstance(place[1], int):
        named = tomllib.loads(text)["key"][place[1]]
        shown = named.get("name") if isinstance(named, dict) else None
        is_name = isinstance(shown, str) and re.fullmatch(_NAME, shown)  # and not the key itself, by mistake
        name = f"key {shown!r}" if is_name else f"key number {place[1] + 1}"
    parts = [
        f"line {line}" if line else "",
        name or str(place[0]),
        ".".join(map(str, place[2:])),
        _said(first),
    ]
    return ": ".join(part for part in parts if part)


def _said(problem: ErrorDetails) -> str:
    if problem["type"] != "extra_forbidden":
        return words(dict(problem))
    if len(problem["loc"]) == 1:
        return "is not known here; write [[key]]"
    return f"is not a setting of a key{meant(problem['loc'][-1], Key.model_fields)}"
