"""Ctrl-C ends a command with 130 and without a word, at whatever moment it comes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Interrupts the process that runs it when the module in its first argument is imported.
_SCRIPT = """
import importlib.abc, os, signal, sys

module = sys.argv[1]

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the parent of the tests does
sys.meta_path.insert(0, Interrupting())
from fanpulse.cli import main
sys.argv[:2] = ["fanpulse"]
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("fanpulse.cli.run", ["status"]),
        ("typer", ["status"]),
        ("pydantic", ["status"]),
        ("aiokafka", ["totals"]),
        ("fanpulse.cli.watch", ["totals"]),
        ("duckdb", ["audit", "june"]),
        ("fanpulse.devstack.overview", ["status"]),
    ],
)
def test_an_interrupt_during_an_import(module: str, arguments: list[str], tmp_path: Path) -> None:
    """The imports take most of a second; most interrupts of a command that was a mistake come there."""
    result = subprocess.run(
        [sys.executable, "-P", "-c", _SCRIPT, module, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), "FANPULSE_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
