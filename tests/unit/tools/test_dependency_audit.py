"""The dependency audit, with the real pip-audit and a service of ours that speaks OSV's protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools import dependency_audit
from tools.dependency_audit import KNOWN_BAD, Ignored, IgnoreListError, main, pinned, read_ignored

TODAY = date(2026, 12, 1)
BAD, BAD_VERSION = "msgspec", "0.0.1"


class Osv(ThreadingHTTPServer):
    """Knows the vulnerabilities of the packages in `known`, by name."""

    def __init__(self, known: set[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.known = known
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/query"


class _Handler(BaseHTTPRequestHandler):
    server: Osv

    def do_POST(self) -> None:
        name = json.loads(self.rfile.read(int(self.headers["content-length"])))["package"]["name"]
        self.server.asked.append(name)
        package = {"name": name, "ecosystem": "PyPI"}
        found = {
            "id": f"PYSEC-1-{name}",
            "aliases": [f"CVE-1-{name}"],
            "summary": "bad",
            "affected": [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "9"}]}]}],
        }
        answer = json.dumps({"vulns": [found]} if name in self.server.known else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def osv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Osv]:
    """A service that knows the probe, and a folder of lock files with two packages."""
    (tmp_path / "some.txt").write_text(f"{BAD}=={BAD_VERSION} \\\n    --hash=sha256:00\n", "utf-8")
    (tmp_path / "other.txt").write_text("aiohttp==3.0 ; sys_platform == 'win32' \\\n    --hash=sha256:11\n")
    monkeypatch.setattr(dependency_audit, "FOLDER", tmp_path)
    server = Osv({KNOWN_BAD.partition("==")[0]})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run(osv_url: str, tmp_path: Path, ignored: str = "") -> int:
    listed = tmp_path / "ignored.toml"
    listed.write_text(ignored, "utf-8")
    return main(["--osv-url", osv_url], today=TODAY, ignored_file=listed)


def entry(until: str, *, package: str = BAD, id: str = f"CVE-1-{BAD}") -> str:
    return f'[[ignored]]\npackage = "{package}"\nid = "{id}"\nreason = "not called"\nuntil = {until}\n'


def test_nothing_found_passes_and_every_locked_package_was_asked_about(
    osv: Osv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a package that this platform does not need."""
    assert run(osv.url, tmp_path) == 0
    assert {BAD, "aiohttp"} <= set(osv.asked)
    assert "2 of 2 locked packages audited: 0 open findings of 0" in capsys.readouterr().out


def test_a_finding_fails_and_names_package_version_and_ids(
    osv: Osv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    osv.known.add(BAD)
    assert run(osv.url, tmp_path) == 1
    assert (
        f"vulnerable: {BAD} {BAD_VERSION}: PYSEC-1-{BAD}, CVE-1-{BAD}; fixed in 9" in capsys.readouterr().out
    )


def test_a_finding_that_is_ignored_with_a_reason_passes_until_its_day(
    osv: Osv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason and the day are in the output. On the day itself the audit fails again."""
    osv.known.add(BAD)
    assert run(osv.url, tmp_path, entry("2026-12-02")) == 0
    assert f"ignored until 2026-12-02: {BAD} {BAD_VERSION}" in (said := capsys.readouterr().out)
    assert "not called" in said
    assert run(osv.url, tmp_path, entry("2026-12-01")) == 1
    said = capsys.readouterr().out
    assert f"ended: CVE-1-{BAD} of {BAD} was ignored until 2026-12-01" in said
    assert f"vulnerable: {BAD}" in said


def test_an_entry_of_another_package_ignores_nothing(osv: Osv, tmp_path: Path) -> None:
    osv.known.add(BAD)
    assert run(osv.url, tmp_path, entry("2026-12-02", package="aiohttp")) == 1


def test_an_entry_that_nothing_needs_is_named(
    osv: Osv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(osv.url, tmp_path, entry("2026-12-02")) == 0
    assert f"no longer found: CVE-1-{BAD} of {BAD}" in capsys.readouterr().out


def test_an_unreachable_service_is_said_and_does_not_pass_for_an_audit(
    osv: Osv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing claims that there are no findings. An entry that has ended still fails."""
    nowhere = "http://127.0.0.1:1/v1/query"
    assert run(nowhere, tmp_path) == 0
    said = capsys.readouterr().out
    assert "not audited by OSV: " in said
    assert "NOT AUDITED: no service could be asked about the 2 locked packages" in said
    assert "findings" not in said
    assert run(nowhere, tmp_path, entry("2026-11-30")) == 1


def test_a_service_that_answers_without_knowing_vulnerabilities_has_audited_nothing(
    osv: Osv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a mirror of an index does: without the probe this would read as no findings."""
    osv.known.clear()
    assert run(osv.url, tmp_path) == 0
    said = capsys.readouterr().out
    assert f"it does not know the vulnerabilities of {KNOWN_BAD}" in said
    assert "NOT AUDITED" in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[ignored]]\npackage = "a"\nid = "b"\nuntil = 2026-12-02\n', "entry 1 needs 'reason'"),
        ('[[ignored]]\npackage = "a"\nid = "b"\nreason = ""\nuntil = 2026-12-02\n', "entry 1 needs 'reason'"),
        ('[[ignored]]\npackage = "a"\nid = "b"\nreason = "c"\n', "entry 1 needs 'until', a day"),
        ('[[ignored]]\npackage = "a"\nid = "b"\nreason = "c"\nuntil = "soon"\n', "needs 'until', a day"),
        ("[[ignored]\n", "it is not TOML"),
    ],
)
def test_an_entry_without_reason_or_day_is_rejected(text: str, why: str) -> None:
    with pytest.raises(IgnoreListError, match=why):
        read_ignored(text)


def test_our_own_list_can_be_read() -> None:
    """Each entry has a package that is locked."""
    locked = {
        each.partition("==")[0]
        for each in pinned(path.read_text("utf-8") for path in dependency_audit.FOLDER.glob("*.txt"))
    }
    for each in read_ignored(dependency_audit.IGNORED.read_text("utf-8")):
        assert isinstance(each, Ignored)
        assert each.package in locked
