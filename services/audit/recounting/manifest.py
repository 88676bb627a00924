"""The manifest of an export: what was read, when, and the hash of every file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from services.audit.recounting.errors import NotAnExportError

MANIFEST = "manifest.json"
EVENTS_FOLDER = "events"
TOTALS_FILE = "totals.parquet"
ALERTS_FILE = "alerts.parquet"
RULES_FILE = "rules.toml"
FORMAT: Literal["fanpulse-export/1"] = "fanpulse-export/1"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PartitionRange(_Part):
    """Offsets ``begin`` (inclusive) to ``end`` (exclusive) of one partition, and what was in them."""

    partition: int
    begin: int
    end: int
    records: int
    entries: int


class TopicRange(_Part):
    """What was read of a topic. ``read_at_ms`` is the wall clock when its ends were asked for."""

    name: str
    read_at_ms: int
    partitions: tuple[PartitionRange, ...]


class ExportedFile(_Part):
    """A file of the export. ``path`` is relative to its folder, with slashes."""

    path: str
    rows: int | None
    bytes: int
    sha256: str

    @field_validator("path")
    @classmethod
    def _within(cls, value: str) -> str:
        """A manifest comes from others: it may name nothing outside its folder."""
        parts = PurePosixPath(value).parts
        plain = parts and value == "/".join(parts) and ".." not in parts and not value.startswith("/")
        if not plain or any(char in value for char in "\\:\0") or not value.isprintable():
            raise ValueError(f"{value!r} is not a path within the export")
        return value


class Manifest(_Part):
    """The whole of manifest.json."""

    format: Literal["fanpulse-export/1"] = FORMAT
    tool_version: str
    created_at: str
    namespace: str
    hashtag_aliases: dict[str, tuple[str, ...]] = {}
    stream_partitions: int | None = None  # those of the log that belong to the stream; None: all
    stream_begins: tuple[int, ...] = ()  # the offset at which the stream begins in each; none: 0
    events: TopicRange
    totals: TopicRange
    alerts: TopicRange
    files: tuple[ExportedFile, ...]

    @field_validator("files")
    @classmethod
    def _once(cls, value: tuple[ExportedFile, ...]) -> tuple[ExportedFile, ...]:
        paths = [file.path.casefold() for file in value]
        if twice := next((path for path in paths if paths.count(path) > 1), None):
            raise ValueError(f"{twice!r} is listed twice")
        return value

    def missing_offsets(self) -> list[tuple[int, int]]:
        """(partition, n) for each partition whose offsets up to n-1 the broker no longer had."""
        return [
            (part.partition, part.begin)
            for part in self.events.partitions
            if self.belongs(part.partition) and part.begin > self.begin_of(part.partition)
        ]

    def belongs(self, partition: int) -> bool:
        """Whether a partition of the log was there when the stream began."""
        return self.stream_partitions is None or partition < self.stream_partitions

    def begin_of(self, partition: int) -> int:
        """The offset at which the stream begins in a partition."""
        return self.stream_begins[partition] if partition < len(self.stream_begins) else 0


def describe_file(directory: Path, path: str, rows: int | None) -> ExportedFile:
    """The manifest's entry of a file that has been written."""
    file = directory / path
    return ExportedFile(path=path, rows=rows, bytes=file.stat().st_size, sha256=sha256_of(file))


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write manifest.json; to be done last."""
    (directory / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """Read manifest.json; raises NotAnExportError."""
    file = directory / MANIFEST
    if not file.is_file():
        raise NotAnExportError(f"{directory} is no export: it has no {MANIFEST}; `fanpulse export` makes one")
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise NotAnExportError(f"{file} cannot be used: {place}: {first['msg']}") from error


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not what was exported. ``rows`` is how many it has more (or, negative, fewer)."""

    path: str
    text: str
    rows: int | None = None


def find_damage(directory: Path, manifest: Manifest) -> list[Damage]:
    """How the folder differs from what the manifest lists; empty for an export as it was written."""
    listed = {file.path for file in manifest.files} | {MANIFEST}
    found = [damage for file in manifest.files if (damage := _damage(directory, file))]
    extra = sorted(set(files_of(directory)) - listed)
    return found + [Damage(path, "was not exported") for path in extra]


def files_of(directory: Path) -> list[str]:
    """Paths of all files in a folder, relative to it, with slashes."""
    return [file.relative_to(directory).as_posix() for file in directory.rglob("*") if not file.is_dir()]


def _damage(directory: Path, file: ExportedFile) -> Damage | None:
    path = directory / file.path
    if path.resolve() != directory.resolve() / file.path:
        return Damage(file.path, "is a link, and not a file of the export", None)
    if not path.is_file():
        return Damage(file.path, "is missing", None if file.rows is None else -file.rows)
    if path.stat().st_size == file.bytes and sha256_of(path) == file.sha256:
        return None
    if file.rows is None:
        return Damage(file.path, "is not what was exported: its SHA-256 differs")
    try:
        rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        return Damage(file.path, f"cannot be read: {' '.join(str(error).split())}", -file.rows)
    text = f"is not what was exported: its SHA-256 differs, and it has {rows:,} rows instead of {file.rows:,}"
    return Damage(file.path, text, rows - file.rows)
