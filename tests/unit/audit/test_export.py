"""Exports: complete or not there, and what is damaged is named."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from services.audit import export as export_module
from services.audit.export import write_export
from services.audit.recounting.errors import ExportRejectedError, NotAnExportError
from services.audit.recounting.manifest import find_damage, read_manifest
from services.runtime.settings import Settings
from services.runtime.topic_scan import Record, Span
from tests.support.audit_stream import FakeReader, Stream, random_stream


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


async def test_an_export_holds_every_entry_and_says_what_was_read(tmp_path: Path) -> None:
    """One row per log entry, the latest totals, all alerts; the manifest has ranges, counts and hashes."""
    stream = random_stream(1, events=300)
    stream.milestone("account", ["twitter", "GansuTravel"], "like", 1, 1)
    await stream.export(tmp_path / "june", namespace="fuxi")
    manifest = read_manifest(tmp_path / "june")
    assert manifest.namespace == "fuxi"
    assert manifest.events.name == "fuxi.engagement.events.v1"
    assert [(part.begin, part.end) for part in manifest.events.partitions] == [
        (0, len(records)) for records in stream.log.values()
    ]
    files = {file.path: file.rows for file in manifest.files}
    assert files == {
        "events/part-00000.parquet": sum(part.entries for part in manifest.events.partitions),
        "totals.parquet": len(stream.totals()),
        "alerts.parquet": 1,
        "rules.toml": None,
    }
    assert find_damage(tmp_path / "june", manifest) == []
    assert names(tmp_path) == ["june", "june-rules.toml"]


async def test_of_the_totals_the_latest_are_kept(tmp_path: Path) -> None:
    """An entry that was written again is there once, as it was last; buckets of rolling counts as well."""

    class Reader(FakeReader):
        async def stream(self, topic: str, spans: Iterable[Span]) -> AsyncIterator[list[Record]]:
            if topic == "engagement.totals.v1":
                keys = [b'["vip"]', b'["bucket",1000,5]', b'["checkpoint"]'] * 2
                yield [Record(0, n, 1, key, b'{"n":%d}' % n) for n, key in enumerate(keys)]
            else:
                async for batch in super().stream(topic, spans):
                    yield batch

    stream = Stream(partitions=1)
    stream.append(0, [])
    await write_export(Settings(), Reader(stream), tmp_path / "june")
    rows = pq.read_table(tmp_path / "june" / "totals.parquet").to_pylist()
    assert [(row["key"], row["value"]) for row in rows] == [
        ('["vip"]', '{"n":3}'),
        ('["bucket",1000,5]', '{"n":4}'),
        ('["checkpoint"]', '{"n":5}'),
    ]


async def test_a_long_log_is_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows go to files of bounded size, none lost between them."""
    monkeypatch.setattr(export_module, "PART_ROWS", 100)
    monkeypatch.setattr(export_module, "BATCH_ROWS", 40)
    stream = random_stream(2, events=1000)
    manifest = await stream.export(tmp_path / "june")
    parts = [file for file in manifest.files if file.path.startswith("events/")]
    assert len(parts) > 5
    tables = [pq.read_table(tmp_path / "june" / part.path) for part in parts]
    assert [len(table) for table in tables] == [part.rows for part in parts]
    assert max(map(len, tables)) < 200, "a batch of 40 to 70 rows at most beyond 100"
    written = [row for table in tables for row in table.to_pylist()]
    monkeypatch.undo()
    await stream.export(tmp_path / "whole")
    assert written == pq.read_table(tmp_path / "whole" / "events" / "part-00000.parquet").to_pylist()


async def test_an_empty_stream_is_an_export_too(tmp_path: Path) -> None:
    """No records: a folder with all files and no rows."""
    manifest = await Stream().export(tmp_path / "june")
    assert {file.path: file.rows for file in manifest.files}["events/part-00000.parquet"] == 0


async def test_what_is_no_export_is_not_overwritten(tmp_path: Path) -> None:
    """A folder with anything else, even beside an export, or a file, is rejected and stays as it is."""
    (tmp_path / "june").mkdir()
    (tmp_path / "june" / "thesis.txt").write_text("mine")
    with pytest.raises(ExportRejectedError, match=r"thesis\.txt"):
        await Stream().export(tmp_path / "june")
    await Stream().export(tmp_path / "july")
    (tmp_path / "july" / "notes.txt").write_text("mine")
    with pytest.raises(ExportRejectedError, match=r"notes\.txt"):
        await Stream().export(tmp_path / "july")
    (tmp_path / "august").write_text("a file")
    with pytest.raises(ExportRejectedError, match="is a file"):
        await Stream().export(tmp_path / "august")
    assert (tmp_path / "june" / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "july" / "notes.txt").read_text() == "mine"


async def test_an_earlier_export_is_replaced_whole(tmp_path: Path) -> None:
    """A second export to the same folder leaves nothing of the first."""
    await random_stream(1, events=100).export(tmp_path / "june")
    await Stream().export(tmp_path / "june")
    manifest = read_manifest(tmp_path / "june")
    assert find_damage(tmp_path / "june", manifest) == []
    assert all(part.entries == 0 for part in manifest.events.partitions)


async def test_a_failure_leaves_what_was_there_and_no_half_export(tmp_path: Path) -> None:
    """When the broker goes away in the middle, the earlier export is still there, and nothing else."""

    class Failing(FakeReader):
        async def stream(self, topic: str, spans: Iterable[Span]) -> AsyncIterator[list[Record]]:
            async for batch in super().stream(topic, spans):
                yield batch
                if topic == "engagement.events.v1":
                    raise ConnectionError("gone")

    stream = random_stream(1, events=100)
    former = await stream.export(tmp_path / "june")
    with pytest.raises(ConnectionError):
        await write_export(Settings(), Failing(stream), tmp_path / "june")
    with pytest.raises(ConnectionError):
        await write_export(Settings(), Failing(stream), tmp_path / "new")
    assert read_manifest(tmp_path / "june") == former
    assert names(tmp_path) == ["june", "june-rules.toml"]


async def test_damage_is_named_by_file(tmp_path: Path) -> None:
    """A changed, a missing and an added file are named, with the rows that are gone."""
    manifest = await random_stream(1, events=100).export(tmp_path / "june")
    (tmp_path / "june" / "totals.parquet").unlink()
    (tmp_path / "june" / "rules.toml").write_text("# changed")
    (tmp_path / "june" / "events" / "part-00001.parquet").write_bytes(b"")
    alerts = tmp_path / "june" / "alerts.parquet"
    alerts.write_bytes(alerts.read_bytes()[:-1])
    damage = {each.path: each for each in find_damage(tmp_path / "june", manifest)}
    assert damage.keys() == {"totals.parquet", "rules.toml", "events/part-00001.parquet", "alerts.parquet"}
    assert "missing" in damage["totals.parquet"].text
    assert damage["totals.parquet"].rows == -len(random_stream(1, events=100).totals())
    assert "SHA-256" in damage["rules.toml"].text
    assert "was not exported" in damage["events/part-00001.parquet"].text
    assert "cannot be read" in damage["alerts.parquet"].text


def test_a_folder_without_a_usable_manifest_is_no_export(tmp_path: Path) -> None:
    """The error names the file and what is wrong with it, in one line."""
    with pytest.raises(NotAnExportError, match=r"no manifest\.json"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "fanpulse-export/9"}))
    with pytest.raises(NotAnExportError, match="format") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)
