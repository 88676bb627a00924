"""Every command under hostile circumstances: a documented exit code, one line, and never a traceback."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer

from fanpulse.cli.app import build_app

#: Each command with arguments that let it get as far as its work.
COMMANDS = {
    "--help": "--help",
    "--version": "--version",
    "demo": "demo --once --report report.json",
    "up": "up",
    "up --detach": "up --detach",
    "down": "down",
    "status": "status",
    "load": "load rows.csv --kind interaction --patience 0",
    "totals": "totals --format json",
    "alerts": "alerts",
    "rules check": "rules check",
    "watch": "watch --once",
    "audit": "audit",
    "audit DIR": "audit none",
    "export": "export full",
    "void": "void id --reason slip --yes --wait 0",
    "dead-letters list": "dead-letters list",
    "dead-letters show": "dead-letters show abc",
    "dead-letters redrive": "dead-letters redrive --all --patience 0",
    "doctor": "doctor",
    "stream show": "stream show",
    "stream accept": "stream accept totals",
    "stream mend": "stream mend",
    "repartition": "repartition --partitions 8 --into other",
    "serve ingest": "serve ingest",
    "serve aggregate": "serve aggregate",
    "serve alerts": "serve alerts",
}
#: They wait for their broker, so they are only tried with what ends them before.
SERVICES = frozenset(name for name in COMMANDS if name.startswith("serve "))
DOCUMENTED = {0, 1, 2, 3, 4, 130, 141, 143}
NO_BROKER = {"FANPULSE_KAFKA_BOOTSTRAP": "127.0.0.1:1"}


@dataclass(frozen=True)
class Circumstance:
    """What is odd: variables, a settings file, and how a shell runs the command; ``ends`` services too."""

    name: str
    variables: dict[str, str | None] = field(default_factory=dict)
    config: bytes | None = None
    line: str = "{}"
    ends: bool = False


DEEP = "[" * 100_000
HOSTILE = [
    Circumstance("no broker answers"),
    Circumstance("nobody reads", line="{} | true"),
    Circumstance("the output is on a full disk", line="{} > /dev/full"),
    Circumstance("all output is on a full disk", line="{} > /dev/full 2>&1"),
    Circumstance("no input", line="{} <&-"),
    Circumstance("no output", line="{} >&-"),
    Circumstance("no place for errors", line="{} 2>&-"),
    Circumstance("no streams at all", line="{} <&- >&- 2>&-"),
    Circumstance("latin-1", {"PYTHONIOENCODING": "latin-1", "LC_ALL": "C"}),
    Circumstance("ascii", {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}),
    Circumstance("no home", {"HOME": None, "USER": None, "LOGNAME": None}),
    Circumstance("a narrow dumb terminal", {"COLUMNS": "1", "TERM": "dumb"}),
    Circumstance("a state folder in a file", {"FANPULSE_STATE_DIR": "/dev/null/state"}),
    Circumstance("a state folder where nobody writes", {"FANPULSE_STATE_DIR": "/proc/state"}),
    Circumstance("no temporary folder", {"TMPDIR": "/proc/none", "TEMP": "/proc", "TMP": "/proc"}),
    Circumstance("a folder that is gone", line='cd "$(mktemp -d)"; rmdir "$PWD"; {}'),
    Circumstance("deep JSON", {"FANPULSE_HASHTAG_ALIASES": DEEP}, ends=True),
    Circumstance("no JSON", {"FANPULSE_OWN_ACCOUNTS": "x:a"}, ends=True),
    Circumstance("a null character", config=b'log_level = "a\\u0000b"', ends=True),
    Circumstance("a null character in a path", config=b'[alerts]\nrules = "a\\u0000b"', ends=True),
    Circumstance("deep TOML", config=b"x = " + DEEP[:5000].encode(), ends=True),
    Circumstance("settings that are not UTF-8", config=b"x = '\xff'", ends=True),
    Circumstance("a folder as settings", {"FANPULSE_CONFIG": "/"}, ends=True),
    Circumstance("an unknown setting", config=b"[ingest]\nprot = 1", ends=True),
]


def _all_commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    for name, command in getattr(group, "commands", {}).items():
        if getattr(command, "commands", None):
            yield from _all_commands(command, (*words, name))
        elif not command.hidden:
            yield " ".join((*words, name))


def test_no_command_is_left_out() -> None:
    """A new command is walked too."""
    assert set(_all_commands(typer.main.get_command(build_app()))) <= set(COMMANDS)


def _environment(folder: Path) -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    return {**kept, "FANPULSE_STATE_DIR": str(folder / "state"), "COLUMNS": "200", **NO_BROKER}


def _folder(parent: Path) -> Path:
    folder = Path(tempfile.mkdtemp(dir=parent))
    (folder / "rows.csv").write_text("occurred_at,platform,account,action,post_id\n2026-06-22,x,a,like,p\n")
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    return folder


def _run(words: str, circumstance: Circumstance, parent: Path) -> tuple[int, str, str]:
    folder = _folder(parent)
    variables = _environment(folder)
    if circumstance.config is not None:
        (folder / "fanpulse.toml").write_bytes(circumstance.config)
    for name, value in circumstance.variables.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    command = f"{shlex.quote(sys.executable)} -P -m fanpulse {words}"
    script = f"set -o pipefail; {circumstance.line.format(command)}"
    with tempfile.TemporaryFile(dir=parent) as out, tempfile.TemporaryFile(dir=parent) as err:
        process = subprocess.run(
            ["bash", "-c", script], env=variables, cwd=folder, timeout=300, check=False,
            stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return process.returncode, texts[0], texts[1]


def _problems(words: str, code: int, out: str, err: str) -> list[str]:
    found = []
    if "Traceback" in out + err:
        found.append("a traceback")
    if code not in DOCUMENTED:
        found.append(f"exit code {code}")
    told = [line for line in err.splitlines() if re.match(r"fanpulse[ a-z-]*: ", line)]
    said = [line for line in told if "lacks some" not in line]
    if len(said) > 1:
        found.append(f"{len(said)} error lines")
    if re.search(r"Input should|Value error|\[type=|Invalid value", out + err):
        found.append("the words of a library")
    return [f"{words}: {each}\n{out[-1500:]}\n{err[-3000:]}" for each in found]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("circumstance", HOSTILE, ids=lambda each: each.name.replace(" ", "-"))
def test_every_command_ends_in_order(circumstance: Circumstance, tmp_path: Path) -> None:
    """A documented exit code, at most one line of an error, no traceback, and no words of a library."""
    commands = [words for name, words in COMMANDS.items() if circumstance.ends or name not in SERVICES]

    def tried(words: str) -> list[str]:
        return _problems(words, *_run(words, circumstance, tmp_path))

    with ThreadPoolExecutor(2) as pool:
        found = [problem for problems in pool.map(tried, commands) for problem in problems]
    assert found == [], "\n".join(found)


#: Commands that talk to the broker for as long as it takes.
LONG = ["audit", "export", "totals", "alerts", "watch", "void", "dead-letters list", "dead-letters redrive",
        "stream show", "repartition", "doctor", "status", "demo", "up"]  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", LONG)
def test_ctrl_c_ends_a_command_that_waits_for_its_broker(name: str, tmp_path: Path) -> None:
    """The broker accepts the connection and says nothing. The command ends with 130 and without a word."""
    folder = _folder(tmp_path)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(100)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        variables = _environment(folder) | {"FANPULSE_KAFKA_BOOTSTRAP": address}
        words = COMMANDS[name].replace(" full", " new")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fanpulse", *words.split()],
            env=variables, cwd=folder, text=True, start_new_session=True, preexec_fn=_default_interrupt,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=100)
    assert "Traceback" not in out + err
    assert err == ""
    assert process.returncode == (0 if name == "up" else 130)


def _default_interrupt() -> None:
    """Whatever the parent of the tests does with SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
