"""Checks the files that settings name, and what else would end a service at its start."""

from __future__ import annotations

from collections.abc import Iterator

from fanpulse.devstack.checks.finding import Finding, fail, ok
from fanpulse.devstack.preflight import usable
from services.runtime.settings import Settings


def settings_files(settings: Settings) -> Iterator[Finding]:
    """Findings about rules, aliases, keys, pseudonyms, webhook and TLS, as far as they are set."""
    for subject, seen, right in usable(settings):
        if right:
            yield ok(subject, seen)
        else:
            line, _, advice = seen.partition("; ")
            yield fail(subject, line, advice or "no service that needs it starts before that is corrected")
