"""A manifest comes from others, and is believed in nothing that leads out of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.audit.recounting.manifest import ExportedFile, Manifest, describe_file, find_damage

RANGE = {"name": "t", "read_at_ms": 1, "partitions": ()}


def manifest(*files: ExportedFile) -> Manifest:
    ranges: dict[str, Any] = {"events": RANGE, "totals": RANGE, "alerts": RANGE}
    return Manifest(tool_version="1", created_at="now", namespace="", files=files, **ranges)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../secret", "events/../../secret", "events/..", "", ".", "./a", "a//b", "C:\\a",
        "c:a", "a\0b", "a\nb", "\u202eb",
    ],
)  # fmt: skip
def test_a_path_out_of_the_export_is_rejected(path: str) -> None:
    """However it is written."""
    with pytest.raises(ValidationError, match="is not a path within the export"):
        ExportedFile(path=path, rows=1, bytes=1, sha256="0")


def test_a_file_that_is_listed_twice_would_count_twice() -> None:
    """So it is rejected, also where only case differs, as some file systems do not tell that apart."""
    one, other = (ExportedFile(path=path, rows=1, bytes=1, sha256="0") for path in ("events/a", "events/A"))
    with pytest.raises(ValidationError, match="listed twice"):
        manifest(one, other)


@pytest.mark.parametrize("of_folder", [False, True])
def test_a_link_is_no_file_of_the_export(of_folder: bool, tmp_path: Path) -> None:
    """Its content may be right today and another tomorrow."""
    folder, outside = tmp_path / "export", tmp_path / "outside"
    outside.mkdir()
    folder.mkdir()
    (outside / "a").write_text("content")
    if of_folder:
        (folder / "events").symlink_to(outside)
    else:
        (folder / "events").mkdir()
        (folder / "events" / "a").symlink_to(outside / "a")
    found = find_damage(folder, manifest(describe_file(folder, "events/a", None)))
    assert [(each.path, "is a link" in each.text) for each in found] == [("events/a", True)]
