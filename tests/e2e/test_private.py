"""What a stack leaves on a machine with other users: files for their owner alone, and secrets nowhere."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.test_stack import Machine
from tests.support.processes import eventually

API_KEY = "the-key-of-the-loader-5d1c"
ADDRESS_SECRET = "services/T00000000/B00000000/aVeryLongSecret"
WEBHOOK_BYTES = b"a secret of the webhook, 32 bytes"
SECRETS = {
    "FANPULSE_API_KEY": API_KEY,
    "FANPULSE_INGEST_ACTOR_KEY": "the key of the pseudonyms, 77",
    "FANPULSE_KAFKA_SASL_PASSWORD": "a password of the broker",
    "FANPULSE_ALERTS_WEBHOOK_SECRET": "whsec_" + base64.b64encode(WEBHOOK_BYTES).decode(),
}
RULES = """
[[milestone]]
name = "first"
scope = "account"
metric = "like"
thresholds = [2]
"""
ROWS = """occurred_at,platform,account,action,post_id
2025-06-14T01:00:12Z,twitter,GansuTravel,like,p1
2025-06-14T01:00:40Z,twitter,GansuTravel,like,p1
yesterday,twitter,GansuTravel,like,p1
"""


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[str]]]:
    """The address of a webhook receiver, and the paths that were posted to. The first answer is 503."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204 if paths else 503)
            self.send_header("content-length", "0")
            self.end_headers()
            paths.append(self.path)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


@pytest.fixture
def machine(tmp_path: Path, receiver: tuple[str, list[str]]) -> Iterator[Machine]:
    """A machine whose user has secrets everywhere, the usual umask, and logs at debug."""
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "rows.csv").write_text(ROWS)
    machine = Machine(
        tmp_path / "home",
        FANPULSE_LOG_LEVEL="debug",
        FANPULSE_INGEST_API_KEY_HASHES=json.dumps([hashlib.sha256(API_KEY.encode()).hexdigest()]),
        FANPULSE_ALERTS_RULES=str(tmp_path / "rules.toml"),
        FANPULSE_ALERTS_WEBHOOK_URL=f"{receiver[0]}/{ADDRESS_SECRET}",
        **SECRETS,
    )
    before = os.umask(0o022)
    yield machine
    os.umask(before)
    machine.run("down")
    eventually(lambda: not machine.processes(), 30, "everything of the test has ended")


def open_to_others(folder: Path) -> list[str]:
    """Files and folders that others may read, write or enter."""
    found = [folder, *folder.rglob("*")]
    return [str(path) for path in found if not path.is_symlink() and path.stat().st_mode & 0o077]


def shown(text: str) -> list[str]:
    """The secrets in a text."""
    return [each for each in (*SECRETS.values(), ADDRESS_SECRET, "aVeryLongSecret") if each in text]


def check_command(said: subprocess.CompletedProcess[str], code: int) -> None:
    assert said.returncode == code, said.stdout + said.stderr
    assert shown(said.stdout + said.stderr) == []


@pytest.mark.timeout(400)
def test_a_stack_leaves_nothing_that_others_can_read_and_shows_no_secret(
    machine: Machine, receiver: tuple[str, list[str]], tmp_path: Path
) -> None:
    """Stack, load with a rejected row, dead letters, audit, export; an earlier version left folders open."""
    state = machine.home / "fanpulse"
    for name in ("logs", "stack"):
        (state / name).mkdir(parents=True)
    doctor = machine.run("doctor")
    assert f"other users can get at {state} {state / 'logs'} {state / 'stack'}" in doctor.stdout
    check_command(machine.run("up", "--detach"), 0)
    check_command(
        machine.run(
            "load", str(tmp_path / "rows.csv"), "--kind", "interaction", "--errors", str(tmp_path / "errors")
        ),
        1,
    )
    eventually(lambda: len(receiver[1]) > 1, 60, "the milestone is delivered, at the second attempt")
    for process in machine.processes():
        assert shown(" ".join(process.cmdline())) == []
    check_command(machine.run("dead-letters", "list"), 0)
    check_command(
        machine.run("dead-letters", "redrive", "--all", "--set", "occurred_at=2025-06-14T01:00:59Z"), 0
    )
    check_command(machine.run("audit", "--report", str(tmp_path / "audit.json")), 0)
    check_command(machine.run("export", str(tmp_path / "export")), 0)
    for command in (["status"], ["status", "--format", "json"], ["doctor"], ["alerts"], ["totals"]):
        check_command(machine.run(*command), 0)
    assert "what fanpulse keeps is for you alone" in machine.run("doctor").stdout

    check_command(machine.run("down"), 0)
    assert open_to_others(machine.home / "fanpulse") == []
    logs = {path.name: path.read_text(errors="replace") for path in (state / "logs").rglob("*.log*")}
    assert {name: shown(text) for name, text in logs.items() if shown(text)} == {}
    assert "HTTP Request: POST" in logs["alerts.log"], "httpx logs its requests at debug"
    for path in (tmp_path / "errors", tmp_path / "audit.json", tmp_path / "export" / "manifest.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, path
    assert stat.S_IMODE((tmp_path / "export").stat().st_mode) == 0o755


@pytest.mark.timeout(300)
def test_a_demo_leaves_nothing_that_others_can_read(machine: Machine, tmp_path: Path) -> None:
    """Its report is the user's, and has the modes that the user wants."""
    said = machine.run(
        "demo", "--once", "--minutes", "1", "--speed", "0", "--report", str(tmp_path / "demo.json")
    )
    check_command(said, 0)
    assert open_to_others(machine.home / "fanpulse") == []
    assert stat.S_IMODE((tmp_path / "demo.json").stat().st_mode) == 0o644


@pytest.mark.timeout(60)
def test_a_folder_that_cannot_be_closed_stops_the_start() -> None:
    """Somebody else's logs, which others can read: the service says so and does not start."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of another user")
    tmp_path = Path(tempfile.mkdtemp())  # pytest's own are closed to others
    tmp_path.chmod(0o755)
    state = tmp_path / "state"
    (state / "logs").mkdir(parents=True)
    os.chown(state, 65534, 65534)
    result = subprocess.run(
        ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", *machine_command("serve", "alerts")],
        env={**os.environ, "FANPULSE_STATE_DIR": str(state), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(tmp_path)
    assert result.returncode == 2, result.stderr
    assert f"{state / 'logs'} can be read or changed by other users" in result.stderr


def machine_command(*arguments: str) -> list[str]:
    return Machine(Path("/")).command(*arguments)
