"""Writes what each service image holds, as CycloneDX: requirements/<extra>.cdx.json, from its lock.

    python -m tools.sbom           write them
    python -m tools.sbom --check   exit 1 if one of them is not current

Each locked package is there with its version and the SHA-256 of every file that the lock accepts, besides
fanpulse itself and the Debian image below with its Python. The packages of Debian are those of that image;
the Dockerfile adds none. Run it where everything of dev.txt is installed: who needs whom is read from there.
The same lock gives the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.generated import write_or_check
from tools.image_locks import EXTRAS, FOLDER, ROOT, closure, direct, locked_blocks

#: Debian's number of a release that the Dockerfile names.
DEBIAN = {"bookworm": "12", "trixie": "13"}
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VERSION = re.compile(r"==([^\s;\\]+)")
_BASE = re.compile(r"^ARG PYTHON=(([\d.]+)-slim-([a-z]+))$", re.MULTILINE)
_FORMAT = SchemaVersion.V1_6


def document(extra: str, lock: str, dockerfile: str, project: dict[str, Any]) -> str:
    """The bill of one image as JSON. Raises ValueError if the Dockerfile names no base that is known here."""
    blocks = locked_blocks(lock)
    packages = {name: _package(name, block) for name, block in blocks.items()}
    own = _own(project)
    image = Component(
        name=f"fanpulse-{extra}", version=own.version, type=ComponentType.CONTAINER, bom_ref="image"
    )
    base = list(_base(dockerfile))
    serial = uuid5(NAMESPACE_URL, f"{lock}{base[0].version}")
    bom = Bom(components=[own, *base, *packages.values()], serial_number=serial)
    bom.metadata.component = image
    bom.register_dependency(image, [own, *base])
    wanted = [*project["dependencies"], *project["optional-dependencies"][extra]]
    needed: set[str] = {canonicalize_name(Requirement(each).name) for each in wanted}
    bom.register_dependency(own, _known(packages, needed))
    asked = _extras_asked_for(wanted, set(packages))
    for name, component in packages.items():
        bom.register_dependency(component, _known(packages, direct(name, asked.get(name, set()))))
    written: dict[str, Any] = json.loads(make_outputter(bom, OutputFormat.JSON, _FORMAT).output_as_string())
    del written["metadata"]["timestamp"]  # the lock has none, and the same lock is the same bill
    return json.dumps(written, indent=1, ensure_ascii=False) + "\n"


def _extras_asked_for(wanted: list[str], locked: set[str]) -> dict[str, set[str]]:
    """The extras of each package that something in the image asks for."""
    asked: dict[str, set[str]] = {}
    for requirement in closure(wanted):
        if requirement.name in locked:
            asked.setdefault(requirement.name, set()).update(requirement.extras)
    return asked


def _known(packages: dict[str, Component], names: set[str]) -> list[Component]:
    return [packages[name] for name in sorted(names) if name in packages]


def _package(name: str, block: str) -> Component:
    version = _VERSION.search(block)
    assert version is not None, block
    return Component(
        name=name,
        version=version[1],
        type=ComponentType.LIBRARY,
        bom_ref=f"pypi:{name}",
        purl=PackageURL("pypi", None, name, version[1]),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in _HASH.findall(block)],
    )


def _own(project: dict[str, Any]) -> Component:
    return Component(
        name=project["name"], version=project["version"], type=ComponentType.APPLICATION, bom_ref="fanpulse"
    )


def _base(dockerfile: str) -> Iterator[Component]:
    found = _BASE.search(dockerfile)
    if found is None or found[3] not in DEBIAN:
        raise ValueError("the Dockerfile names no base as ARG PYTHON=<version>-slim-<release of Debian>")
    tag, python, release = found[1], found[2], found[3]
    yield Component(
        name="python",
        version=tag,
        type=ComponentType.CONTAINER,
        bom_ref="base",
        purl=PackageURL("docker", "library", "python", tag),
        description="the image below",
    )
    yield Component(
        name="debian",
        version=DEBIAN[release],
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref="debian",
        description=f"Debian {DEBIAN[release]} ({release})",
    )
    yield Component(name="CPython", version=python, type=ComponentType.PLATFORM, bom_ref="cpython")


def files() -> dict[Path, str]:
    """What each bill should say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    return {
        FOLDER / f"{extra}.cdx.json": document(
            extra, (FOLDER / f"{extra}.txt").read_text("utf-8"), dockerfile, project
        )
        for extra in EXTRAS
    }


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 1 with a line per file that is not current."""
    return write_or_check(files(), "tools.sbom", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
