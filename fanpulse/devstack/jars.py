"""Downloads the jars of the embedded broker, once, and verifies them at each start.

``kafka-jars.lock`` lists the jars with their hashes. jgo fetches them from the repositories it knows (its
configuration may name a mirror). Each jar is downloaded to its own folder and moved to the cache once its
hash is right, so an interrupted download keeps every complete jar. Every start verifies all hashes again,
which takes about 40 ms; jgo is imported only if a jar is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import platformdirs

from fanpulse.devstack.lock import FileLock
from services.runtime.settings import PREFIX

LOCK_LIST = Path(__file__).with_name("kafka-jars.lock")
PARALLEL_DOWNLOADS = 4
ATTEMPTS = 3
TIMEOUT_SECONDS = 30
#: How long a second process waits for the download of the first.
LOCK_WAIT_SECONDS = 900.0


class JarError(RuntimeError):
    """A jar cannot be downloaded, or its hash is wrong. The message is one line."""


@dataclass(frozen=True, slots=True)
class Jar:
    """A jar by its Maven coordinate."""

    group: str
    artifact: str
    version: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


class Progress(Protocol):
    """Receives the progress of a download; several threads call it."""

    def start(self, total_bytes: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def stop(self) -> None: ...


def read_list(path: Path = LOCK_LIST) -> tuple[Jar, ...]:
    """The jars of the committed list."""
    jars = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            coordinate, size, digest = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, int(size), digest))
    return tuple(jars)


def user_cache() -> Path:
    """The cache that all stacks of this user share."""
    return platformdirs.user_cache_path("fanpulse") / "jars"


def cache_folders() -> tuple[Path, ...]:
    """Folders that may hold the jars; missing jars go to the first.

    That is the user's cache, or with FANPULSE_STATE_DIR a folder in there, since you want everything in one
    place then. A complete set in the user's cache is still used rather than downloaded again.
    """
    state_dir = os.environ.get(f"{PREFIX}STATE_DIR")
    return (Path(state_dir) / "cache" / "jars", user_cache()) if state_dir else (user_cache(),)


def differing(folder: Path, jars: tuple[Jar, ...]) -> tuple[list[Jar], list[Jar]]:
    """The jars that are missing in the folder, and the jars whose content differs from the list."""
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda jar: _digest(folder / jar.file_name), jars))
    missing = [jar for jar, digest in zip(jars, digests, strict=True) if digest is None]
    wrong = [jar for jar, digest in zip(jars, digests, strict=True) if digest not in (None, jar.sha256)]
    return missing, wrong


def class_path(
    progress: Progress | None = None,
    folders: tuple[Path, ...] | None = None,
    jars: tuple[Jar, ...] | None = None,
    stop: threading.Event | None = None,
) -> list[Path]:
    """All jars, verified; downloads the missing ones. Blocks. Raises JarError.

    Another thread may set `stop`; the download then ends soon, with JarError.
    """
    jars = read_list() if jars is None else jars
    folders = cache_folders() if folders is None else folders
    for folder in folders:
        if differing(folder, jars) == ([], []):
            return [folder / jar.file_name for jar in jars]
    folder = folders[0]
    lock = FileLock(folder / ".lock")
    lock.acquire(wait_seconds=LOCK_WAIT_SECONDS)
    try:
        missing, wrong = differing(folder, jars)  # another process may have downloaded them meanwhile
        _reject(folder, wrong)
        _fetch_all(folder, missing, progress, stop or threading.Event())
    finally:
        lock.release()
    return [folder / jar.file_name for jar in jars]


def _reject(folder: Path, wrong: list[Jar]) -> None:
    if wrong:
        raise JarError(
            f"{folder / wrong[0].file_name} is not the file that fanpulse was released with (its SHA-256 "
            f"differs from kafka-jars.lock); if you did not change it on purpose, delete it and start again"
        )


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _fetch_all(folder: Path, missing: list[Jar], progress: Progress | None, stop: threading.Event) -> None:
    """Download into `folder`, several at a time. Complete jars stay even if another one fails."""
    if not missing:
        return
    for stale in folder.glob(".download-*"):
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=".download-", dir=folder))
    if progress:
        progress.start(sum(jar.size for jar in missing))
    try:
        with _system_trust(), ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            try:
                futures = [pool.submit(_fetch, jar, folder, staging, progress, stop) for jar in missing]
                for future in futures:
                    future.result()
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if progress:
            progress.stop()


def _fetch(jar: Jar, folder: Path, staging: Path, progress: Progress | None, stop: threading.Event) -> None:
    """Download one jar, with a few attempts. Raises JarError."""
    for attempt in range(1, ATTEMPTS + 1):
        download = _Download(progress, stop)
        try:
            fetched = download.run(jar, staging / f"{jar.file_name}.{attempt}")
            break
        except (OSError, RuntimeError) as error:  # the errors of requests are OSErrors
            download.undo_progress()
            if stop.is_set() or attempt == ATTEMPTS:
                raise JarError(_no_download(jar, error)) from error
            stop.wait(2.0 ** (attempt - 1))
    if _digest(fetched) != jar.sha256:
        raise JarError(
            f"{jar.coordinate} was downloaded but is not the file that fanpulse was released with (its "
            f"SHA-256 differs from kafka-jars.lock); something between you and the repository changes it"
        )
    fetched.replace(folder / jar.file_name)


def _no_download(jar: Jar, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return (
        f"{jar.coordinate} cannot be downloaded ({reason}); check the network and start again (complete "
        f"downloads are kept), or set FANPULSE_KAFKA_BOOTSTRAP to use a broker that you have"
    )


class _Download:
    """One attempt to download; it reports its progress and can be stopped."""

    def __init__(self, progress: Progress | None, stop: threading.Event) -> None:
        self.progress = progress
        self.stop = stop
        self.count = 0

    def run(self, jar: Jar, folder: Path) -> Path:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext, PythonResolver

        context: Any = MavenContext(
            resolver=PythonResolver(progress_callback=self._counted),
            repo_cache=folder,
            remote_repos={**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL},
            timeout=TIMEOUT_SECONDS,
        )
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        return Path(component.artifact().resolve())

    def undo_progress(self) -> None:
        self._advance(-self.count)

    @contextlib.contextmanager
    def _counted(self, _name: str, _total: int) -> Iterator[Callable[[int], None]]:
        yield self._advance

    def _advance(self, count: int) -> None:
        if self.stop.is_set() and count > 0:
            raise InterruptedError("stopped")
        self.count += count
        if self.progress:
            self.progress.advance(count)


@contextlib.contextmanager
def _system_trust() -> Iterator[None]:
    """Trust the system's certificate authorities, such as that of a network that inspects TLS."""
    import truststore

    truststore.inject_into_ssl()
    try:
        yield
    finally:
        truststore.extract_from_ssl()
