"""Everything about the settings that can be checked before a service starts, with the services' own code.

A mistake in a file that a setting names would otherwise end a service after the stack has started.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from services.runtime.settings import Settings, SettingsError

#: What a check is about, and the check: it says what it has seen, or raises SettingsError. Nothing to see is
#: an empty text.
Check = tuple[str, Callable[[Settings], str]]


def require_usable(settings: Settings) -> None:
    """Raises SettingsError, one line: the first mistake with which a service would not start."""
    for _, check in CHECKS:
        with contextlib.suppress(ModuleNotFoundError):  # of an extra; its service says so
            check(settings)


def usable(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Each check that applies: its subject, what it has seen, and whether that is right."""
    for subject, check in CHECKS:
        try:
            seen = check(settings)
        except SettingsError as error:
            yield subject, str(error), False
        except ModuleNotFoundError:
            continue
        else:
            if seen:
                yield subject, seen, True


def _rules(settings: Settings) -> str:
    from services.alerts.rules_on_disk import PACKAGED, load_rules

    path = settings.alerts.rules
    rules = load_rules(path)
    count = len(rules.milestone) + len(rules.spike)
    return f"{count} in {path or PACKAGED}"


def _aliases(settings: Settings) -> str:
    groups = settings.hashtag_aliases
    return f"{len(groups)} groups of hashtags that count as one" if groups else ""


def _keys(settings: Settings) -> str:
    from services.ingest.http.auth import check_access
    from services.ingest.http.keys_file import read_keys_file

    check_access(settings)
    path = settings.ingest.keys_file
    if path is None:
        return ""
    return f"{len(read_keys_file(path))} in {path}"


def _actors(settings: Settings) -> str:
    from services.runtime.pseudonym_key import actor_key

    actor_key(settings, create=False)
    return ""


def _webhook(settings: Settings) -> str:
    from services.alerts.delivery.webhook import make_webhook

    return "" if make_webhook(settings.alerts, lambda problem: None) is None else "signed"


def _tls(settings: Settings) -> str:
    from services.runtime.kafka import client_options

    kafka = settings.kafka
    protocol = kafka.security_protocol
    if kafka.bootstrap is None:
        if protocol != "PLAINTEXT":
            raise SettingsError(
                f"kafka.security_protocol is {protocol}, but kafka.bootstrap is not set, and the embedded "
                "broker has neither TLS nor passwords; set kafka.bootstrap to your broker"
            )
        return ""
    client_options(kafka)
    return f"{protocol}: its settings and files can be used" if protocol != "PLAINTEXT" else ""


CHECKS: tuple[Check, ...] = (
    ("rules", _rules),
    ("aliases", _aliases),
    ("keys", _keys),
    ("actors", _actors),
    ("webhook", _webhook),
    ("tls", _tls),
)
