"""Writes an export: the log, the totals and the alerts as Parquet, with a manifest.

Totals are read first, alerts after them, events last. So the events behind every figure and every alert of
the export are in it too, even while the stream goes on.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.stream import TopicIdentity
from schemas.topics import ALERTS, EVENTS, TOTALS, qualified
from services.audit.recounting.engine import open_engine
from services.audit.recounting.entries import SCHEMA, Rows
from services.audit.recounting.errors import ExportRejectedError, NotAnExportError
from services.audit.recounting.manifest import (
    ALERTS_FILE,
    EVENTS_FOLDER,
    MANIFEST,
    RULES_FILE,
    TOTALS_FILE,
    ExportedFile,
    Manifest,
    PartitionRange,
    TopicRange,
    describe_file,
    files_of,
    read_manifest,
    write_manifest,
)
from services.audit.recounting.rules import rules_text
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, Span

PART_ROWS = 500_000
BATCH_ROWS = 50_000  # rows held as Python objects at a time

#: A record of the totals or of the alerts, as it is; bytes that are not UTF-8 are replaced.
RECORD_SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("record_timestamp_ms", pa.int64(), nullable=False),
        ("key", pa.string()),
        ("value", pa.string()),
    ]
)

Progress = Callable[[int, int], None]
"""Called with (records read, records in all) while the log is read."""


class LogReader(Protocol):
    """What an export reads from: ``services.runtime.topic_scan.TopicReader``, or a fake in tests."""

    async def spans(self, topic: str) -> list[Span]:
        """What each partition of a topic holds."""

    def stream(self, topic: str, spans: Iterable[Span]) -> AsyncIterator[list[Record]]:
        """The records, in batches of one partition."""


async def write_export(
    settings: Settings,
    reader: LogReader,
    directory: Path,
    progress: Progress | None = None,
    identity: TopicIdentity | None = None,
) -> Manifest:
    """Write what the reader gives of the namespace to ``directory``; an earlier export there is replaced.

    ``identity`` is that of the log; without it, all its partitions belong to the stream, from offset 0 on.
    The folder appears complete, or not at all. Raises ExportRejectedError if the folder holds anything but an
    export, and what the reader raises.
    """
    with _fresh_folder(directory) as folder:
        exporter = _Exporter(settings, reader, folder, progress or (lambda done, total: None))
        manifest = await exporter.run()
        if identity is not None:
            manifest = manifest.model_copy(
                update={
                    "stream_partitions": identity.partitions,
                    "stream_begins": identity.first_offsets,
                }
            )
        write_manifest(folder, manifest)
    return manifest


class _Exporter:
    """The work of one export."""

    def __init__(self, settings: Settings, reader: LogReader, folder: Path, progress: Progress) -> None:
        self._settings = settings
        self._reader = reader
        self._folder = folder
        self._progress = progress
        self._files: list[ExportedFile] = []

    async def run(self) -> Manifest:
        """Read the three topics; returns the manifest, which is not written yet."""
        rules = rules_text(self._settings.alerts.rules)
        totals = await self._copy(TOTALS.name, TOTALS_FILE)
        self._list(TOTALS_FILE, _keep_latest(self._folder / TOTALS_FILE, self._settings.audit.memory_mb))
        alerts = await self._copy(ALERTS.name, ALERTS_FILE)
        self._list(ALERTS_FILE, sum(part.entries for part in alerts.partitions))
        events = await self._events()
        (self._folder / RULES_FILE).write_text(rules, encoding="utf-8")
        self._list(RULES_FILE, None)
        return Manifest(
            tool_version=version("fanpulse"),
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            namespace=self._settings.namespace,
            hashtag_aliases=self._settings.hashtag_aliases,
            events=events,
            totals=totals,
            alerts=alerts,
            files=tuple(self._files),
        )

    async def _copy(self, topic: str, path: str) -> TopicRange:
        """Write the records of a topic as they are."""
        name = qualified(self._settings.namespace, topic)
        read_at_ms, spans = _now_ms(), await self._reader.spans(name)
        read_counts = _ReadCounts(spans)
        with pq.ParquetWriter(self._folder / path, RECORD_SCHEMA, compression="zstd") as writer:
            async for records in _slices(self._reader.stream(name, spans)):
                read_counts.add(records[0].partition, len(records), len(records))
                writer.write_batch(_as_they_are(records))
        return read_counts.range(name, read_at_ms)

    def _list(self, path: str, rows: int | None) -> None:
        self._files.append(describe_file(self._folder, path, rows))

    async def _events(self) -> TopicRange:
        name = qualified(self._settings.namespace, EVENTS.name)
        read_at_ms, spans = _now_ms(), await self._reader.spans(name)
        read_counts, rows = _ReadCounts(spans), Rows()
        total = sum(span.end - span.begin for span in spans)
        with _Parts(self._folder) as parts:
            async for records in self._reader.stream(name, spans):
                for record in records:
                    before = len(rows)
                    rows.add(record.partition, record.offset, record.timestamp_ms, record.value)
                    read_counts.add(record.partition, 1, len(rows) - before)
                    if len(rows) >= BATCH_ROWS:
                        parts.write(rows.take())
                self._progress(read_counts.records, total)
            parts.write(rows.take())
        for path, count in parts.written:
            self._list(path, count)
        return read_counts.range(name, read_at_ms)


class _Parts:
    """Files of about PART_ROWS rows, one after the other; always at least one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self.written: list[tuple[str, int]] = []
        (folder / EVENTS_FOLDER).mkdir()

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch; a new part begins when the open one is full."""
        if self._writer is None:
            path = f"{EVENTS_FOLDER}/part-{len(self.written):05d}.parquet"
            self._writer = pq.ParquetWriter(self._folder / path, SCHEMA, compression="zstd")
            self.written.append((path, 0))
        self._writer.write_batch(batch)
        path, rows = self.written[-1]
        self.written[-1] = (path, rows + batch.num_rows)
        if rows + batch.num_rows >= PART_ROWS:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _ReadCounts:
    """Counts what was read of each partition."""

    def __init__(self, spans: list[Span]) -> None:
        self._spans = spans
        self._records = {span.partition: 0 for span in spans}
        self._entries = {span.partition: 0 for span in spans}

    def add(self, partition: int, records: int, entries: int) -> None:
        self._records[partition] += records
        self._entries[partition] += entries

    @property
    def records(self) -> int:
        return sum(self._records.values())

    @property
    def entries(self) -> int:
        return sum(self._entries.values())

    def range(self, name: str, read_at_ms: int) -> TopicRange:
        partitions = tuple(
            PartitionRange(
                partition=span.partition,
                begin=span.begin,
                end=span.end,
                records=self._records[span.partition],
                entries=self._entries[span.partition],
            )
            for span in self._spans
        )
        return TopicRange(name=name, read_at_ms=read_at_ms, partitions=partitions)


def _keep_latest(file: Path, memory_mb: int) -> int:
    """Reduce a file of records to the latest of each key; returns how many are left."""
    reduced = file.with_suffix(".latest")
    with open_engine(memory_mb) as engine:
        engine.save("export.latest", reduced, file=str(file))
    reduced.replace(file)
    return int(pq.read_metadata(file).num_rows)


def _as_they_are(records: list[Record]) -> pa.RecordBatch:
    columns = [
        [r.partition for r in records],
        [r.offset for r in records],
        [r.timestamp_ms for r in records],
        [_text(r.key) for r in records],
        [_text(r.value) for r in records],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, RECORD_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", errors="replace")


async def _slices(batches: AsyncIterator[list[Record]], size: int = 10_000) -> AsyncIterator[list[Record]]:
    async for batch in batches:
        for start in range(0, len(batch), size):
            yield batch[start : start + size]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def _fresh_folder(directory: Path) -> Iterator[Path]:
    """A new folder beside ``directory`` that takes its place if the block succeeds."""
    directory = directory.resolve()
    _reject_foreign(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    folder = directory.with_name(f".{directory.name}.unfinished-{secrets.token_hex(6)}")
    folder.mkdir()
    try:
        yield folder
        _reject_foreign(directory)  # something may have been written there meanwhile
        replaced = folder.with_name(f"{folder.name}-replaced")
        if directory.exists():
            directory.rename(replaced)
        folder.rename(directory)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reject_foreign(directory: Path) -> None:
    """Raise ExportRejectedError if the folder holds a file that no export has written."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ExportRejectedError(f"{directory} is a file; name a folder for the export")
    found = set(files_of(directory))
    if not found:
        return
    try:
        foreign = found - {file.path for file in read_manifest(directory).files} - {MANIFEST}
    except NotAnExportError:
        foreign = found
    if foreign:
        raise ExportRejectedError(
            f"{directory} holds {min(foreign)}, which no export has written; name an empty or a new folder"
        )
