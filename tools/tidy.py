"""Checks on the files of the repository that no linter makes.

    python -m tools.tidy     exit 1 with a line per finding

- no module of Python has more than 400 lines, tests aside;
- a lock file names versions and hashes and no address: it works behind every network;
- no other file names a package index, or a host that is not known to be documentation;
- no file names a path of the machine it was written on;
- no conflict marker, no trailing white space in text files that people write.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_LINES = 400
_URL = re.compile(r"https?://([A-Za-z0-9.-]*[A-Za-z0-9])")
_INDEX = re.compile(r"(?<!emit)--?(extra-)?index-url|trusted-host|(?<!emit-)find-links|PIP_(EXTRA_)?INDEX")
#: Specifications and projects that the documentation points at.
_KNOWN_HOSTS = {
    "adr.github.io",
    "cyclonedx.org",  # the name of the schema of a bill of materials
    "json-schema.org",
    "keepachangelog.com",
    "semver.org",
    "www.apache.org",
    "www.standardwebhooks.com",
    "www.w3.org",  # the name of SVG's namespace
}
_LOCAL = re.compile(
    r"localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|[a-z-]+|[\w.-]*\.?(example|invalid|test)(\.\w+)?"
)
_MACHINE = re.compile(r"(?<![\w.])/(work|root|home/\w+|tmp/(?!\{))/")
_CONFLICT = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
_WRITTEN = {".py", ".md", ".yml", ".yaml", ".toml", ".sql"}


def tracked() -> list[Path]:
    """The files of the repository as they are now; deleted ones left out."""
    run = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [path for name in run.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def findings(path: Path, text: str) -> Iterator[str]:
    """What is wrong with a text file."""
    name = path.relative_to(ROOT)
    if path.suffix == ".py" and name.parts[0] != "tests" and (lines := text.count("\n")) > MAX_LINES:
        yield f"{name}: {lines} lines, {MAX_LINES} are allowed; split it"
    for what, match in _addresses(path, text):
        yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match[0]}"
    if path.suffix in _WRITTEN:
        if _CONFLICT.search(text):
            yield f"{name}: a conflict marker"
        for number, line in enumerate(text.split("\n"), start=1):
            if line != line.rstrip():
                yield f"{name}:{number}: white space at the end of the line"


def _addresses(path: Path, text: str) -> Iterator[tuple[str, re.Match[str]]]:
    if path == Path(__file__):
        return
    locked = path.suffix == ".lock" or (path.parent.name == "requirements" and path.suffix != ".json")
    for match in _URL.finditer(text):
        if locked or not (_LOCAL.fullmatch(match[1]) or match[1] in _KNOWN_HOSTS):
            yield "an address", match
    for what, pattern in (("a package index", _INDEX), ("a path of a machine", _MACHINE)):
        for match in pattern.finditer(text):
            yield what, match


def main() -> int:
    """Exit status: 0, or 1 with a line per finding."""
    found: list[str] = []
    for path in tracked():
        try:
            found += findings(path, path.read_text("utf-8"))
        except UnicodeDecodeError:
            continue  # data, such as a gzip file of a test
    sys.stdout.writelines(f"{finding}\n" for finding in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
