"""Wraps functions of the product for as long as the process runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def wrap(owner: Any, name: str, make: Callable[[Function], Function]) -> None:
    """Replace a function of a module or class by what ``make`` makes of it. AttributeError if it is gone."""
    setattr(owner, name, make(getattr(owner, name)))
