"""Who may write what: the list of own accounts, the scope of a key, and bounds on what one event may carry.

Everything here is decided by one event and the settings; nothing is remembered. ``rate`` limits how fast.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from schemas.events import ACTIONS
from schemas.reasons import Reason, Rejection
from schemas.structs import KINDS, Event, Interaction, Reading
from services.ingest.pipeline.stream_time import FutureTimestampCheck

#: Accounts whose match with the patterns of a key is remembered.
_REMEMBERED = 4096


@dataclass(frozen=True)
class Bounds:
    """The largest quantity of an interaction, by action where ``by_action`` says so, and of a reading."""

    quantity: int
    by_action: Mapping[str, int] = field(default_factory=dict)
    reading: int | None = None

    def of_action(self, action: str) -> int:
        """The largest quantity of one event of this action."""
        return self.by_action.get(action, self.quantity)


@dataclass(frozen=True)
class KeyScope:
    """What a key may write; None: anything.

    ``accounts``: platform:account, in which * stands for any text.
    """

    accounts: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    actions: tuple[str, ...] | None = None


class AccessRules:
    """The rules for the events of one client."""

    def __init__(
        self,
        bounds: Bounds,
        *,
        own_accounts: Iterable[tuple[str, str]] = (),
        scope: KeyScope | None = None,
        key_name: str = "",
    ) -> None:
        """``own_accounts``: (platform, account) in normal form; empty: any. ``key_name`` is for messages."""
        scope = scope or KeyScope()
        self._own = frozenset(own_accounts)
        self._patterns = None if scope.accounts is None else matcher(scope.accounts)
        self._kinds = None if scope.kinds is None else frozenset(scope.kinds)
        self._actions = None if scope.actions is None else frozenset(scope.actions)
        self._scoped = bool(self._own or scope != KeyScope())
        self._quantities = {action: bounds.of_action(action) for action in ACTIONS}
        self._reading = bounds.reading
        self._who = f"the key {key_name!r}" if key_name else "a client"
        self._of_key = f" for the key {key_name!r}" if key_name else ""
        self._matches = lru_cache(_REMEMBERED)(self._match)

    def rejection(self, event: Event) -> Rejection | None:
        """Why the event (in normal form) may not be written; None if it may."""
        kind = type(event)
        if kind is Interaction:
            quantity = event.quantity
            # UNSET is falsy, and means 1
            if quantity and quantity > self._quantities[event.action]:
                return Rejection(
                    "quantity",
                    Reason.OUT_OF_RANGE,
                    f"{quantity} is more than {self._quantities[event.action]}, the largest quantity of one "
                    f"{event.action}{self._of_key}",
                )
        elif kind is Reading and self._reading is not None and event.value > self._reading:
            return Rejection(
                "value",
                Reason.OUT_OF_RANGE,
                f"{event.value} is more than {self._reading}, the largest reading{self._of_key}",
            )
        return self._out_of_scope(event, kind) if self._scoped else None

    def _out_of_scope(self, event: Event, kind: type) -> Rejection | None:
        if self._kinds is not None and KINDS[kind] not in self._kinds:
            return self._not_allowed("kind", f"{self._who} may not write the kind {KINDS[kind]}")
        if self._actions is not None and kind is Interaction and event.action not in self._actions:
            return self._not_allowed("action", f"{self._who} may not write the action {event.action}")
        return self._matches(event.platform, event.account)

    def _match(self, platform: str, account: str) -> Rejection | None:
        name = f"{platform}:{account}"
        if self._own and (platform, account) not in self._own:
            return self._not_allowed("account", f"{name} is not one of own_accounts")
        if self._patterns is not None and not self._patterns.fullmatch(name):
            return self._not_allowed("account", f"{self._who} may not write for {name}")
        return None

    @staticmethod
    def _not_allowed(name: str, detail: str) -> Rejection:
        return Rejection(name, Reason.NOT_ALLOWED, detail)


class EventCheck:
    """Checks the events of one request: the rules of its client, then the times.

    It stands where a FutureTimestampCheck does.
    """

    __slots__ = ("_rules", "_times")

    def __init__(self, rules: AccessRules, times: FutureTimestampCheck) -> None:
        self._rules = rules
        self._times = times

    @property
    def newest(self) -> int | None:
        """The newest event time among the accepted events."""
        return self._times.newest

    def admits_all(self, events: Sequence[Event]) -> bool:
        """Whether every event may be written. If one may not, nothing has changed."""
        rejection = self._rules.rejection
        return all(rejection(event) is None for event in events) and self._times.admits_all(events)

    def rejection(self, event: Event) -> Rejection | None:
        """Why the next event may not be written; None if it may."""
        return self._rules.rejection(event) or self._times.rejection(event)


def matcher(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile(
        "|".join(".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns), re.DOTALL
    )
