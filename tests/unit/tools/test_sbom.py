"""The bills of materials: valid CycloneDX, current, and complete."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools import sbom
from tools.image_locks import EXTRAS, FOLDER, ROOT


def bill(extra: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FOLDER / f"{extra}.cdx.json").read_bytes())
    return read


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_bill_is_valid_cyclonedx(extra: str) -> None:
    """By the strict schema of the version that it names."""
    text = (FOLDER / f"{extra}.cdx.json").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_bill_has_each_locked_package_with_all_its_hashes(extra: str) -> None:
    """Read from the lock by other means: pairs of name and version, and the set of hashes."""
    lock = (FOLDER / f"{extra}.txt").read_text("utf-8")
    components = [each for each in bill(extra)["components"] if each.get("purl", "").startswith("pkg:pypi/")]
    listed = {(each["name"], each["version"]) for each in components}
    assert listed == set(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.MULTILINE))
    hashes = {each["content"] for component in components for each in component["hashes"]}
    assert hashes == set(re.findall(r"sha256:(\w+)", lock))


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_bill_names_the_base_and_leads_from_the_image_to_every_package(extra: str) -> None:
    """The base is that of the Dockerfile, and no package is there that nobody needs."""
    read = bill(extra)
    named = {each["name"]: each["version"] for each in read["components"]}
    assert f"ARG PYTHON={named['python']}\n" in (ROOT / "Dockerfile").read_text("utf-8")
    assert named["debian"] == "12"
    needs = {each["ref"]: each.get("dependsOn", []) for each in read["dependencies"]}
    reached, queue = set(), ["image"]
    while queue:
        if (ref := queue.pop()) not in reached:
            reached.add(ref)
            queue += needs.get(ref, [])
    assert reached == {"image", *(each["bom-ref"] for each in read["components"])}


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="read from what is installed, and the images' Python is older"
)
def test_the_bills_are_current_and_a_changed_lock_is_noticed(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made twice they are the same to the byte."""
    assert sbom.main(["--check"]) == 0
    folder = tmp_path / "requirements"
    folder.mkdir()
    for path in FOLDER.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(sbom, "FOLDER", folder)
    lock = folder / "alerts.txt"
    lock.write_text(lock.read_text("utf-8").replace("sha256:0", "sha256:1", 1), "utf-8")
    assert sbom.main(["--check"]) == 1
    assert "requirements/alerts.cdx.json is not current" in capsys.readouterr().out
