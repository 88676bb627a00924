"""Derives the lock file of each image from requirements/dev.txt: the same versions and hashes, but only what
one service needs.

    python -m tools.image_locks           write requirements/<extra>.txt and requirements/build.txt
    python -m tools.image_locks --check   exit 1 if one of them is not current

Run it where everything of dev.txt is installed (make test does that): who needs what is read from there.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.generated import write_or_check

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements"
EXTRAS = ("ingest", "aggregate", "alerts")
#: The images' Python. Markers about anything else are judged by the machine at hand.
PYTHON = {"python_version": "3.13", "python_full_version": "3.13.0", "sys_platform": "linux"}
_BLOCK = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(?:.*\\\n)*.*\n?", re.MULTILINE)


def locked_blocks(text: str) -> dict[str, str]:
    """The lines of each package, version and hashes, by canonical name."""
    return {canonicalize_name(match[1]): match[0].rstrip("\n") + "\n" for match in _BLOCK.finditer(text)}


@dataclass(frozen=True, slots=True)
class Needed:
    """A package that is needed, and with which extras it was asked for."""

    name: str
    extras: frozenset[str]


def closure(wanted: Iterable[str]) -> set[Needed]:
    """All that the requirements need, and all that those need; a package once for each set of extras.

    Raises importlib.metadata.PackageNotFoundError if one is not installed here.
    """
    found: set[Needed] = set()
    queue = list(_needed(wanted, frozenset()))
    while queue:
        each = queue.pop()
        if each not in found:
            found.add(each)
            queue += _needed(requires(each.name) or (), each.extras)
    return found


def direct(name: str, extras: Iterable[str]) -> set[str]:
    """Canonical names of what an installed package with these extras needs itself."""
    return {each.name for each in _needed(requires(name) or (), extras)}


def _needed(lines: Iterable[str], extras: Iterable[str]) -> Iterator[Needed]:
    """What requirements mean in the images, for a package with these extras."""
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or any(marker.evaluate(_environment(extra)) for extra in ("", *extras)):
            yield Needed(canonicalize_name(requirement.name), frozenset(requirement.extras))


def _environment(extra: str) -> dict[str, Any]:
    return {**default_environment(), **PYTHON, "extra": extra}


def _blocks_of(lines: Iterable[str], blocks: dict[str, str]) -> str:
    return "".join(blocks[name] for name in sorted({each.name for each in closure(lines)}))


def files() -> dict[Path, str]:
    """What each lock file should hold. Raises KeyError if dev.txt lacks a package."""
    blocks = locked_blocks((FOLDER / "dev.txt").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    core, extras = project["project"]["dependencies"], project["project"]["optional-dependencies"]
    wanted = {extra: [*core, *extras[extra]] for extra in EXTRAS}
    wanted["build"] = [*project["build-system"]["requires"], "editables"]
    head = "# Derived from dev.txt by `python -m tools.image_locks`; do not edit.\n"
    return {FOLDER / f"{name}.txt": head + _blocks_of(lines, blocks) for name, lines in wanted.items()}


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 1 with a line per file that is not current."""
    return write_or_check(files(), "tools.image_locks", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
