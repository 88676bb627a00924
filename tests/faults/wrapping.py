"""Functions of the product in other clothes, for the life of a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def wrap(owner: Any, name: str, make: Callable[[Function], Function]) -> None:
    """Replace a function of a module or class by what ``make`` makes of it."""
    setattr(owner, name, make(getattr(owner, name)))
