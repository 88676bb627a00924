"""Getting the jars: from a repository on this machine, so that it can be slow, wrong or absent."""

from __future__ import annotations

import gc
import hashlib
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jgo.constants
import pytest

from fanpulse.devstack import jars
from fanpulse.devstack.jars import Jar, JarError, class_path

#: jgo leaves the connection of a download that fails to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Repository:
    """A Maven repository with three jars; the test may break it."""

    def __init__(self) -> None:
        self.contents = {f"part{number}-1.0.jar": bytes([number]) * 50_000 for number in (1, 2, 3)}
        self.jars = tuple(
            Jar("org.example", name[:5], "1.0", len(body), hashlib.sha256(body).hexdigest())
            for name, body in self.contents.items()
        )
        self.served: list[str] = []
        self.truncated = ""
        self.missing = ""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """The only repository that jgo knows."""
    found = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if name not in found.contents or name == found.missing:
                self.send_error(404)
                return
            found.served.append(name)
            body = found.contents[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:1000] if name == found.truncated else body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(jgo.constants, "MAVEN_CENTRAL_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none.conf"))
    monkeypatch.setattr(jars, "ATTEMPTS", 1)
    yield found
    server.shutdown()
    thread.join()
    server.server_close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Meter:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.running = False

    def start(self, total_bytes: int) -> None:
        self.total, self.running = total_bytes, True

    def advance(self, count: int) -> None:
        self.done += count

    def stop(self) -> None:
        self.running = False


def test_the_first_time_all_are_downloaded_and_then_none(repository: Repository, tmp_path: Path) -> None:
    """All jars come, in the order of the list, and the progress adds up; later nothing is fetched."""
    meter = Meter()
    paths = class_path(meter, (tmp_path,), repository.jars)
    assert [path.read_bytes() for path in paths] == list(repository.contents.values())
    assert (meter.total, meter.done, meter.running) == (150_000, 150_000, False)
    repository.served.clear()
    assert class_path(None, (tmp_path,), repository.jars) == paths
    assert repository.served == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", *repository.contents]


@pytest.mark.parametrize("broken", ["truncated", "missing"])
def test_an_interrupted_download_is_taken_up_again(
    repository: Repository, tmp_path: Path, broken: str
) -> None:
    """A jar that breaks off is an error that says so; the next start fetches only what was not complete."""
    setattr(repository, broken, "part3-1.0.jar")
    with pytest.raises(JarError, match=r"org.example:part3:1.0 cannot be downloaded .*start again"):
        class_path(None, (tmp_path,), repository.jars)
    setattr(repository, broken, "")
    repository.served.clear()
    class_path(None, (tmp_path,), repository.jars)
    assert repository.served == ["part3-1.0.jar"]


def test_a_jar_that_is_not_ours_is_rejected(repository: Repository, tmp_path: Path) -> None:
    """A repository that serves other bytes under the same name is not trusted, and nothing of it is kept."""
    repository.contents["part2-1.0.jar"] = b"something else"
    with pytest.raises(JarError, match=r"part2:1.0 was downloaded but is not the file"):
        class_path(None, (tmp_path,), repository.jars)
    assert not (tmp_path / "part2-1.0.jar").exists()


def test_a_jar_changed_on_disk_is_rejected(repository: Repository, tmp_path: Path) -> None:
    """A cached jar that was changed is neither run nor silently replaced; the error names it."""
    changed = class_path(None, (tmp_path,), repository.jars)[1]
    changed.write_bytes(b"\0" + changed.read_bytes()[1:])
    wrong = changed.read_bytes()
    with pytest.raises(JarError, match=r"part2-1.0.jar is not the file .*delete it"):
        class_path(None, (tmp_path,), repository.jars)
    assert changed.read_bytes() == wrong
    changed.unlink()
    assert changed in class_path(None, (tmp_path,), repository.jars)


def test_two_at_once_download_once(repository: Repository, tmp_path: Path) -> None:
    """Two that start together both get all jars, and each jar is fetched once."""
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: class_path(None, (tmp_path,), repository.jars), range(2)))
    assert results[0] == results[1]
    assert sorted(repository.served) == sorted(repository.contents)


def test_a_complete_second_folder_is_used(repository: Repository, tmp_path: Path) -> None:
    """What the user's cache holds is not downloaded again into a state folder."""
    cached = class_path(None, (tmp_path / "user",), repository.jars)
    repository.served.clear()
    assert class_path(None, (tmp_path / "state", tmp_path / "user"), repository.jars) == cached
    assert repository.served == []


def test_a_stopped_download_ends(repository: Repository, tmp_path: Path) -> None:
    """A download that is to stop ends with an error and leaves nothing, instead of going on unseen."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(JarError, match=r"cannot be downloaded \(.*stopped"):
        class_path(None, (tmp_path,), repository.jars, stop)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_list_names_kafka_once_per_jar() -> None:
    """The committed list has 46 jars, each once, with size and SHA-256 sum, and no addresses."""
    listed = jars.read_list()
    assert len({jar.file_name for jar in listed}) == len(listed) == 46
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in listed)
    assert {"kafka_2.13", "kafka-clients", "log4j-slf4j-impl"} <= {jar.artifact for jar in listed}
    assert "http" not in jars.LOCK_LIST.read_text()


def test_a_state_folder_that_is_set_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads go to the user's cache, or below FANPULSE_STATE_DIR if that is set."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert jars.cache_folders() == (tmp_path / "cache" / "fanpulse" / "jars",)
    monkeypatch.setenv("FANPULSE_STATE_DIR", str(tmp_path / "state"))
    assert jars.cache_folders()[0] == tmp_path / "state" / "cache" / "jars"
