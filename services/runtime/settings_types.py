"""Types of settings with a form of their own: what each takes, and the words for what it does not."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.events import ACTIONS
from schemas.fields import MAX_QUANTITY, account_name
from schemas.hashtags import AliasTable, canonical
from schemas.problems import meant


def _addresses(value: str) -> str:
    for address in value.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
            raise ValueError(f"{address!r} is not host:port")
    return value


def _accounts(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(":".join(account_name(each)) for each in value)


def _hashtags(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(canonical, value))


def _vips(value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        if not all(each.partition(":")):
            raise ValueError(f"{each!r} is not platform:id, such as twitter:44196397")
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d{1,5})?", origin):
            raise ValueError(f"{origin!r} is not an origin, such as https://studio.example")
    return value


def _alias_groups(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    AliasTable(value)
    return value


def _known_actions(value: dict[str, int]) -> dict[str, int]:
    for action in value:
        if action not in ACTIONS:
            raise ValueError(
                f"{action!r} is not an action; there are {', '.join(ACTIONS)}{meant(action, ACTIONS)}"
            )
    return value


Addresses = Annotated[str, AfterValidator(_addresses)]
Accounts = Annotated[tuple[str, ...], AfterValidator(_accounts)]
TrackedHashtags = Annotated[tuple[str, ...], AfterValidator(_hashtags)]
Vips = Annotated[tuple[str, ...], AfterValidator(_vips)]
Origins = Annotated[tuple[str, ...], AfterValidator(_origins)]
AliasGroups = Annotated[dict[str, tuple[str, ...]], AfterValidator(_alias_groups)]
QuantityByAction = Annotated[
    dict[str, Annotated[int, Field(ge=1, le=MAX_QUANTITY)]], AfterValidator(_known_actions)
]
