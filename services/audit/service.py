"""The audit in one call: of an export, or of a running stream, which is exported first."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from schemas.stream import TopicIdentity
from schemas.topics import ALERTS, EVENTS, TOTALS, qualified
from services.audit.export import LogReader, Progress, write_export
from services.audit.recounting.examine import audit_export
from services.audit.recounting.manifest import Manifest
from services.audit.recounting.result import AuditResult, Window
from services.runtime.settings import Settings
from services.runtime.stream import read_identities, require_unchanged
from services.runtime.topic_scan import Span, open_reader
from services.runtime.topic_states import TopicAdmin

POLL_SECONDS = 0.25
_AUDITED = (EVENTS.name, TOTALS.name, ALERTS.name)
_CHECKPOINT_KEY = b'["checkpoint"'


async def export(settings: Settings, directory: Path, progress: Progress | None = None) -> Manifest:
    """Write the log, the totals and the alerts of the namespace to a folder. See ``write_export``.

    Raises ExportRejectedError, RuleFileError, TopicMissingError, StreamError and BrokerUnavailableError.
    """
    identity = await _unchanged_log(settings)
    async with open_reader(settings) as reader:
        return await write_export(settings, reader, directory, progress, identity)


async def _unchanged_log(settings: Settings) -> TopicIdentity | None:
    """The identity of the log, if it is on record. Raises StreamError if topics are not what they were."""
    identities = await read_identities(settings)
    mine = {name: each for name, each in identities.items() if name in _AUDITED}
    if mine:
        cluster = await TopicAdmin(settings).describe(
            [qualified(settings.namespace, name) for name in mine], config=False
        )
        require_unchanged(mine, cluster, settings.namespace)
    return mine.get(EVENTS.name)


async def audit(
    settings: Settings,
    directory: Path | None = None,
    *,
    window: Window | None = None,
    settle_seconds: float | None = None,
    progress: Progress | None = None,
    step: Callable[[str], None] = lambda text: None,
) -> AuditResult:
    """Recount, compare, and give the verdict.

    Compared are: the totals, the rolling counts as they are stored (in buckets), the counters of every
    checkpoint, late events among them, and the alerts.

    ``directory`` is an export; without one, the stream is exported to a temporary folder first. In a running
    stream the totals may be behind the log and the alerts behind the totals: the audit waits for them for up
    to ``settle_seconds`` (default: the setting). What is still behind then is a note if it may yet come, and
    a difference if it should be there.

    Raises NotAnExportError, RuleFileError, TopicMissingError, StreamError and BrokerUnavailableError.
    """
    started = time.monotonic()
    memory_mb = settings.audit.memory_mb
    if directory is not None:
        result = await asyncio.to_thread(audit_export, directory, window, memory_mb, step)
        return replace(result, seconds=time.monotonic() - started)
    patience = settings.audit.settle_seconds if settle_seconds is None else settle_seconds
    deadline = started + patience
    identity = await _unchanged_log(settings)
    with tempfile.TemporaryDirectory(prefix="fanpulse-export-") as folder:
        target = Path(folder) / "export"
        while True:
            step("waiting for the totals")
            last_try = time.monotonic() >= deadline
            async with open_reader(settings) as reader:
                await _wait_until_counted(settings, reader, deadline, identity)
                step("reading")
                manifest = await write_export(settings, reader, target, progress, identity)
            result = await asyncio.to_thread(audit_export, target, window, memory_mb, step)
            if last_try or not result.awaited or patience == 0:
                return replace(result, seconds=time.monotonic() - started)
            step("waiting for alerts")
            await _wait_for_alerts(settings, manifest, deadline)


async def _wait_until_counted(
    settings: Settings, reader: LogReader, deadline: float, identity: TopicIdentity | None
) -> None:
    """Return once the published checkpoints have reached the end that the log has now, or at the deadline."""
    events = await reader.spans(qualified(settings.namespace, EVENTS.name))
    if identity is not None:
        events = events[: identity.partitions]
    totals = qualified(settings.namespace, TOTALS.name)
    read_to: dict[int, int] = {}
    counted: dict[int, int] = {}
    while True:
        spans = await reader.spans(totals)
        rest = [Span(span.partition, read_to.get(span.partition, span.begin), span.end) for span in spans]
        async for records in reader.stream(totals, rest):
            for record in records:
                if record.value and (record.key or b"").startswith(_CHECKPOINT_KEY):
                    counted[record.partition] = _offset_in(record.value)
        read_to = {span.partition: span.end for span in spans}
        behind = [e for e in events if e.end > e.begin and counted.get(e.partition, -1) < e.end - 1]
        if not behind or time.monotonic() >= deadline:
            return
        await asyncio.sleep(POLL_SECONDS)


def _offset_in(checkpoint: bytes) -> int:
    try:
        offset = msgspec.json.decode(checkpoint)["offset"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return -1  # the audit itself will say what is wrong with it
    return offset if isinstance(offset, int) else -1


async def _wait_for_alerts(settings: Settings, manifest: Manifest, deadline: float) -> None:
    """Return once there are alerts that the export does not have, or at the deadline."""
    known = {part.partition: part.end for part in manifest.alerts.partitions}
    async with open_reader(settings) as reader:
        while time.monotonic() < deadline:
            spans = await reader.spans(qualified(settings.namespace, ALERTS.name))
            if any(span.end > known.get(span.partition, 0) for span in spans):
                return
            await asyncio.sleep(POLL_SECONDS)
