"""A user's machine: a state folder, and `fanpulse` on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

START_SECONDS = 90


class Machine:
    """A user's machine: a state folder, and `fanpulse` on it."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FANPULSE_")}
        # XDG_STATE_HOME and not FANPULSE_STATE_DIR, so that the downloaded broker is the user's
        self.environment = {**inherited, "XDG_STATE_HOME": str(home), "NO_COLOR": "1", **variables}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "fanpulse", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Run a command without waiting, in a process group of its own as in a terminal."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--format", "json").stdout))

    def processes(self) -> list[psutil.Process]:
        """Everything alive that was started here."""
        found = []
        for process in psutil.process_iter(["environ", "status"]):
            variables = process.info["environ"] or {}
            alive = process.info["status"] != psutil.STATUS_ZOMBIE
            if alive and variables.get("XDG_STATE_HOME") == str(self.home):
                found.append(process)
        return found

    def supervisor(self) -> int:
        state_file = self.home / "fanpulse" / "stack" / "default.json"
        return int(json.loads(state_file.read_bytes())["supervisor"])
