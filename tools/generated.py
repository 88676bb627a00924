"""Writes generated files, or says which of them are not current."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_or_check(files: Mapping[Path, str], module: str, arguments: Sequence[str]) -> int:
    """Write what each file should hold; with `--check` in the arguments, compare instead.

    Returns the exit status: 0, or 1 with a line for each file that `python -m module` would change.
    """
    if "--check" not in arguments:
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        return 0
    wrong = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    sys.stdout.writelines(
        f"{path.parent.name}/{path.name} is not current; run python -m {module}\n" for path in wrong
    )
    return 1 if wrong else 0
