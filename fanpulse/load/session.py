"""One `fanpulse load` command: its files one after the other, each from where an earlier run stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

from fanpulse.load.checkpoint import Checkpoint, CheckpointFile, checkpoints, is_regular
from fanpulse.load.client import IngestClient
from fanpulse.load.compressed import DamagedFileError
from fanpulse.load.errors_file import ErrorsFile
from fanpulse.load.loading import Limits, Loader, RejectedRow
from fanpulse.load.opening import STANDARD_INPUT, OpenFile, OpeningError, StoppedError
from fanpulse.load.parsing.delimited import DelimitedError
from fanpulse.load.parsing.objects import ObjectMapper
from fanpulse.load.parsing.rules import Rules, RulesError
from fanpulse.load.parsing.tables import TableMapper
from fanpulse.load.parsing.times import Times
from fanpulse.load.rate_limiter import RateLimiter
from services.runtime.private import files_for_the_user

_SAVE_SECONDS = 0.5


class FileError(ValueError):
    """A file that cannot be loaded, or not to its end, with these options. The message is one line."""


@dataclass(frozen=True)
class Options:
    """How to load. ``speed``: recorded seconds per second, or None for as fast as ingest acknowledges."""

    rules: Rules
    limits: Limits = field(default_factory=Limits)
    speed: float | None = None
    restart: bool = False
    errors: Path | None = None


@dataclass
class FileReport:
    """The result for one file. ``resumed``: where an earlier, interrupted run had stopped."""

    path: str
    name: str
    kind_of_file: str = ""
    resumed: Checkpoint | None = None
    result: Checkpoint = field(default_factory=Checkpoint)
    ignored: list[str] = field(default_factory=list)
    unused_maps: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)
    times: Times | None = None


class Display(Protocol):
    """Shows a load to a person."""

    def begin(self, report: FileReport) -> None:
        """A file is open."""

    def progress(self, report: FileReport, done: int, total: int | None) -> None:
        """More of it has been answered; ``done`` of ``total`` has been read (None: not known)."""

    def rejected(self, report: FileReport, rows: Sequence[RejectedRow]) -> None:
        """These rows were rejected, in order of the file."""

    def end(self, report: FileReport) -> None:
        """The file has been loaded to its end."""

    def not_kept(self, reason: str) -> None:
        """How far the load is cannot be kept."""


class Session:
    """Use as ``with``: it holds the file of errors. ``stop()`` asks to end early."""

    def __init__(
        self,
        paths: Sequence[str],
        options: Options,
        client: IngestClient,
        display: Display,
        *,
        folder: Path,
        destination: str,
        stop: Callable[[], bool],
    ) -> None:
        self._paths = list(paths)
        self._options = options
        self._client = client
        self._display = display
        self._stop = stop
        self._errors: ErrorsFile | None = None
        self._loader: Loader | None = None
        self._not_kept = False
        client.fail = lambda: stop() or self.failed
        self._checkpoints = self._find_checkpoints(folder, destination)
        self.reports: list[FileReport] = []

    @property
    def failed(self) -> bool:
        """Whether a request has failed for good, so that the others need not be tried again."""
        return self._loader is not None and self._loader.failed

    def idle(self) -> None:
        """An input without an end has nothing to read: passed on to the loader. Raises StoppedError."""
        if self._loader is not None:
            self._loader.idle()
        elif self._stop():
            raise StoppedError

    def check(self) -> None:
        """Check the options against each file, before anything is sent. Raises FileError."""
        for path in self._paths:
            if is_regular(path) or not (path == STANDARD_INPUT or Path(path).exists()):
                with self._open(path, None) as file:
                    self._mapper(file)

    def run(self) -> bool:
        """Load every file; whether all were loaded to their ends.

        Raises FileError, and IngestUnavailableError and IngestRejectedError of the client. What has been
        acknowledged is kept in the checkpoints in every case.
        """
        for path, kept in zip(self._paths, self._checkpoints, strict=True):
            if not self._load(path, kept):
                return False
        for kept in self._checkpoints:
            if kept:
                kept.clear()
        return True

    def __enter__(self) -> Session:
        if self._options.errors:
            resumes = not self._options.restart and any(kept and kept.read() for kept in self._checkpoints)
            try:
                with files_for_the_user():
                    self._errors = ErrorsFile(self._options.errors, append=resumes)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise FileError(f"--errors {self._options.errors}: {reason}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._errors:
            self._errors.close()

    def _find_checkpoints(self, folder: Path, destination: str) -> list[CheckpointFile | None]:
        try:
            return checkpoints(folder, self._paths, self._options.rules, destination)
        except OSError as error:
            raise FileError(f"{error.filename} cannot be read: {(error.strerror or '').lower()}") from error

    def _load(self, path: str, kept: CheckpointFile | None) -> bool:
        if kept and self._options.restart:
            kept.clear()
        before = kept.read() if kept else None
        report = FileReport(path, Path(path).name, resumed=before, result=before or Checkpoint())
        self.reports.append(report)
        if before and before.done:
            self._display.begin(report)
            self._display.end(report)
            return True
        try:
            file = self._open(path, (before.end, before.lines) if before else None)
        except StoppedError:
            return False
        with file:
            report.name = file.name
            report.kind_of_file = ", ".join(filter(None, (file.format, file.encoding, file.compression)))
            report.titles = getattr(file.reader, "titles", [])
            mapper = self._mapper(file)
            report.times = mapper.times
            self._display.begin(report)
            ended = self._load_rows(file, mapper, report, kept, before)
            report.ignored = mapper.ignored
            report.unused_maps = mapper.unused_maps
        if ended:
            self._display.end(report)
        return ended

    def _load_rows(
        self,
        file: OpenFile,
        mapper: TableMapper | ObjectMapper,
        report: FileReport,
        kept: CheckpointFile | None,
        before: Checkpoint | None,
    ) -> bool:
        record = _Record(self, file, report, kept)
        source = f"file:{file.name}"
        rate_limiter = (
            RateLimiter(self._options.speed, time.monotonic, time.sleep) if self._options.speed else None
        )
        self._loader = loader = Loader(
            lambda lines: self._client.post(lines, source),
            mapper,
            record,
            limits=self._options.limits,
            stop=self._stop,
            rate_limiter=rate_limiter,
            start=before,
        )
        ended = False
        try:
            ended = loader.run(file.reader.rows())
        except (OpeningError, DamagedFileError) as error:
            done = loader.checkpoint.rows
            raise FileError(f"{file.name}: {error}; the {done:,} rows before that are loaded") from error
        finally:
            report.result = replace(loader.checkpoint, done=ended)
            if kept:
                self.keep(kept, report.result)
        return ended

    def _open(self, path: str, place: tuple[int, int] | None) -> OpenFile:
        try:
            return OpenFile(path, self, place)
        except (OpeningError, DelimitedError, DamagedFileError) as error:
            name = "standard input" if path == STANDARD_INPUT else path
            raise FileError(f"{name} {error}") from error

    def _mapper(self, file: OpenFile) -> TableMapper | ObjectMapper:
        if file.reader.columns is None:
            return ObjectMapper(self._options.rules)
        try:
            return TableMapper(self._options.rules, file.reader.columns)
        except RulesError as error:
            raise FileError(f"{file.name}: {error}") from error

    def keep(self, kept: CheckpointFile, checkpoint: Checkpoint) -> None:
        """Write a checkpoint. A full disk ends no load: one that is cut off then begins further back."""
        try:
            kept.write(checkpoint)
        except OSError as error:
            if not self._not_kept:
                self._display.not_kept(f"{error.filename or 'the checkpoint'}: {error.strerror or error}")
            self._not_kept = True

    def write_errors(self, report: FileReport, rejected: list[RejectedRow]) -> None:
        """Append rejected rows to the file of errors, if one is wanted."""
        if self._errors and rejected:
            self._errors.write([{"file": report.path, **row._asdict()} for row in rejected])

    def show(self, report: FileReport, rejected: list[RejectedRow], done: tuple[int, int | None]) -> None:
        """Pass on to the display."""
        if rejected:
            self._display.rejected(report, rejected)
        self._display.progress(report, *done)


class _Record:
    """Keeps what a loader settles: errors first, then from time to time the checkpoint."""

    def __init__(
        self, session: Session, file: OpenFile, report: FileReport, kept: CheckpointFile | None
    ) -> None:
        self._session = session
        self._file = file
        self._report = report
        self._kept = kept
        self._saved = time.monotonic()

    def settled(self, checkpoint: Checkpoint, rejected: list[RejectedRow]) -> None:
        self._report.result = checkpoint
        self._session.write_errors(self._report, rejected)
        now = time.monotonic()
        if self._kept and now - self._saved >= _SAVE_SECONDS:
            self._session.keep(self._kept, checkpoint)
            self._saved = now
        self._session.show(self._report, rejected, self._file.progress())
