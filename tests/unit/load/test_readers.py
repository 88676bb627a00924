"""`fanpulse load`: what a file is, and the rows in it with their line numbers."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cramjam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanpulse.load.compressed import DamagedFileError
from fanpulse.load.opening import OpenFile, OpeningError, StoppedError, detect_format
from fanpulse.load.parsing import lines as lines_module
from fanpulse.load.parsing.delimited import Delimited, DelimitedError
from fanpulse.load.parsing.jsonlines import JsonLines
from fanpulse.load.parsing.jsonvalues import spans_lines
from fanpulse.load.parsing.lines import Row
from schemas.reasons import Reason

CSV = "a,b\n1,2\n3,4\n"


class Patient:
    """Waits for ever."""

    def idle(self) -> None:
        """Nothing to do."""


def rows_of(text: str | bytes) -> list[Row]:
    """The rows of a CSV text."""
    data = text.encode() if isinstance(text, str) else text
    return list(Delimited(io.BytesIO(data)).rows())


def read_file(path: Path, place: tuple[int, int] | None = None) -> list[Row]:
    """The rows of a file."""
    with OpenFile(str(path), Patient(), place) as file:
        return list(file.reader.rows())


def plain(rows: list[Row]) -> list[tuple[int, object]]:
    """Line numbers and values."""
    return [(row.number, row.value) for row in rows]


class TestDelimited:
    """CSV and its kin."""

    def test_rows_have_the_number_of_their_first_line(self) -> None:
        """As an editor counts: quoted line breaks count, blank lines too, though they are no rows."""
        rows = rows_of('a,b\n1,"x\ny"\n\n  \n3,"say ""hi"""\r\n,\n5,6')
        assert plain(rows) == [(2, ["1", "x\ny"]), (6, ["3", 'say "hi"']), (8, ["5", "6"])]
        assert [row.lines for row in rows] == [3, 6, 8]

    @pytest.mark.parametrize(
        ("text", "separator", "columns"),
        [
            ("a,b\n1,2\n", ",", ["a", "b"]),
            ("\ufeffa;b\n1;2\n", ";", ["a", "b"]),
            ("a\tb\n1\t2\n", "\t", ["a", "b"]),
            ("a|b\n1|2\n", "|", ["a", "b"]),
            ('"a,b,c";b\n1;2\n', ";", ["a,b,c", "b"]),
            ("sep=;\na,x;b\n1;2\n", ";", ["a,x", "b"]),
            ("\n\na , b,,\n1,2,,\n", ",", ["a", "b"]),
        ],
    )
    def test_the_separator_is_found_in_the_header(
        self, text: str, separator: str, columns: list[str]
    ) -> None:
        """Commas, semicolons (spreadsheets of half of Europe), tabs, bars; a byte order mark is no text."""
        table = Delimited(io.BytesIO(text.encode()))
        assert (table.separator, table.columns) == (separator, columns)
        assert [row.value for row in table.rows()] == [["1", "2"]]

    @pytest.mark.parametrize("text", ["", "\n \n", b"\xffa,b\n", '"a\n'])
    def test_a_file_without_a_header_is_rejected(self, text: str | bytes) -> None:
        """Nothing can be mapped then."""
        with pytest.raises(DelimitedError):
            rows_of(text)

    def test_a_row_of_another_width_is_reported_and_the_rest_is_read(self) -> None:
        """An unquoted separator shifts every cell after it, also where the last one is empty: nothing is
        guessed. Empty cells too many pass only where the header has them too."""
        rows = rows_of("a,b\n1,2,3\n1\n1,2,\n7,8\n")
        assert [row.number for row in rows if row.problem] == [2, 3, 4]
        assert plain(rows)[3:] == [(5, ["7", "8"])]
        assert rows[0].problem
        assert rows[0].problem.detail == "malformed CSV: 3 cells where the header has 2"
        assert rows[0].value == b"1,2,3"
        rows = rows_of("a,b,,\n1,2,,\n1,2\n1,2,3,\n1,2,\n")
        assert [row.number for row in rows if row.problem] == [4, 5]

    def test_a_quote_that_is_never_closed_costs_one_row(self) -> None:
        """The rows that it drew in are read again, to the end of the file and beyond the limit of a cell."""
        many = "".join(f"{number},x\n" for number in range(30_000))
        rows = rows_of(f'a,b\n1,2\n"oops,9\n{many}')
        bad = [row for row in rows if row.problem]
        assert [(row.number, row.value) for row in bad] == [(3, b'"oops,9')]
        assert len(rows) == 30_002
        assert rows[-1].number == 30_003

    def test_a_quote_that_another_row_closes_costs_one_row(self) -> None:
        """A row put together from two lines that does not fit the header is taken apart again."""
        rows = rows_of('a,b\n"x,1\n2,y\n3,"z"\n4,w\n')
        assert [row.number for row in rows if row.problem] == [2]
        assert plain([row for row in rows if not row.problem]) == [
            (3, ["2", "y"]),
            (4, ["3", "z"]),
            (5, ["4", "w"]),
        ]

    def test_bytes_that_are_not_utf8_are_reported_where_they_are(self) -> None:
        """The row is kept as it stands, and the others are read."""
        rows = rows_of(b"a,b\n1,caf\xe9\n3,4\n")
        assert rows[0].value == b"1,caf\xe9"
        assert rows[0].problem
        assert rows[0].problem.reason is Reason.NOT_UTF8
        assert rows[0].problem.detail == "byte 0xe9 at place 6 of line 2"
        assert rows[1].value == ["3", "4"]

    def test_what_is_sent_of_a_row_is_one_line(self) -> None:
        """Ingest takes a line for an event: a row that is none must not be counted as two."""
        rows = rows_of(b'a,b\n1,"x\r\ny\xff"\n')
        assert rows[0].value == b'1,"x  y\xff"'

    def test_reading_can_go_on_at_the_end_of_any_row(self) -> None:
        """A stream moved to where a row ended gives the rows behind it, with the same line numbers."""
        data = '\ufeffa,b\n1,"x\ny"\n"oops,3\n\n5,6\n7,"é"\n'.encode()
        rows = list(Delimited(io.BytesIO(data)).rows())
        for index, row in enumerate(rows):
            stream = io.BytesIO(data)
            table = Delimited(stream)
            table.go_on(row.end, row.lines, lambda here, there, stream=stream: stream.seek(there - here, 1))
            assert list(table.rows()) == rows[index + 1 :]

    @pytest.mark.parametrize(
        ("text", "columns", "titles"),
        [
            ('sep=,\r\n"Facebook follows"\r\n"Date","Primary"\r\n"2026-11-01","20"\r\n', ["Date", "Primary"],
             ["Facebook follows"]),
            ("Überblick alles\n\nTag;Wert\n1;2\n", ["Tag", "Wert"], ["Überblick alles"]),
            ('"A\nB, C"\n"All"\na\tb\n1\t2\n', ["a", "b"], ["A", "B, C", "All"]),
            ("event_id\ntw-1\ntw-2\n", ["event_id"], []),
            ("event_id\ntw-1,x\ntw-2\n", ["event_id"], []),  # one bad row makes no header
            ("title\na,b\n", ["title"], []),
        ],
    )  # fmt: skip
    def test_titles_before_the_header_are_passed_over(
        self, text: str, columns: list[str], titles: list[str]
    ) -> None:
        """Lines of one cell, behind which rows of several begin. They are told."""
        table = Delimited(io.BytesIO(text.encode()))
        assert (table.columns, table.titles) == (columns, titles)

    def test_reading_can_go_on_behind_titles(self, tmp_path: Path) -> None:
        """The lines that were looked at to find the header are rows too."""
        path = tmp_path / "rows.csv"
        path.write_text("Report\na,b\n" + "".join(f"{number},x\n" for number in range(40)))
        whole = read_file(path)
        for place in whole:
            with OpenFile(str(path), Patient(), (place.end, place.lines)) as file:
                assert [row.number for row in file.reader.rows()] == list(range(place.number + 1, 43))

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
    def test_a_byte_order_mark_names_the_encoding(self, encoding: str, tmp_path: Path) -> None:
        """What spreadsheets call Unicode text. Places are those of the content in UTF-8."""
        path = tmp_path / "rows.csv"
        mark = "\ufeff" if encoding.endswith("be") else ""
        path.write_bytes((mark + "a\tb\r\n1\t伏羲大典\r\n2\tx\r\n").encode(encoding))
        with OpenFile(str(path), Patient()) as file:
            assert file.encoding == encoding.upper().removesuffix("-BE")
            first, second = file.reader.rows()
        assert (first.value, second.value) == (["1", "伏羲大典"], ["2", "x"])
        with OpenFile(str(path), Patient(), (first.end, first.lines)) as file:
            assert [row.value for row in file.reader.rows()] == [["2", "x"]]


class TestJsonValues:
    """Arrays, objects over many lines or on one, and the archive of X."""

    @pytest.mark.parametrize(
        "text",
        [
            '[{"a":1},\n {"a":"}{][,"}]',
            '{"a":1}{"a":"}{][,"}',
            '{\n "a": 1\n}\n{\n "a": "}{][,"\n}\n',
            'window.YTD.tweets.part0 = [ {\n "a" : 1 },\n{"a":"}{][,"} ];\n',
            '\ufeff[\n{"a":1}\n,{"a":"}{][,"}\n]',
        ],
    )
    def test_every_object_is_a_row(self, text: str, tmp_path: Path) -> None:
        """On one line, whatever stood between them; reading can go on behind each."""
        path = tmp_path / "rows.json"
        path.write_text(text)
        rows = read_file(path)
        assert [json.loads(row.value) for row in rows] == [{"a": 1}, {"a": "}{][,"}]
        assert not any(b"\n" in row.value for row in rows if isinstance(row.value, bytes))
        with OpenFile(str(path), Patient(), (rows[0].end, rows[0].lines)) as file:
            assert file.format == "json"
            assert [row.value for row in file.reader.rows()] == [rows[1].value]

    def test_large_values_are_read_piece_by_piece(self, tmp_path: Path) -> None:
        """Wherever a piece of the file ends, also within a character."""
        values = [{"n": n, "text": "伏羲大典" * (n * 700)} for n in range(40)]
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(values, ensure_ascii=False, indent=1))
        rows = read_file(path)
        assert [json.loads(row.value) for row in rows] == values
        assert rows[5].number == 2 + 5 * 4

    @pytest.mark.parametrize(
        ("text", "says"),
        [('[{"a":1},{"a":2', "from line 1 on .value 2"), ('[{"a":1},\n x]', "from line 2 on .value 2")],
    )
    def test_where_it_breaks_off_is_said(self, text: str, says: str, tmp_path: Path) -> None:
        """The values before it are rows."""
        path = tmp_path / "rows.json"
        path.write_text(text)
        with OpenFile(str(path), Patient()) as file:
            rows = file.reader.rows()
            assert next(rows).value == b'{"a":1}'
            with pytest.raises(OpeningError, match=says):
                next(rows)

    @pytest.mark.parametrize(
        ("head", "is_named_lines", "expected"),
        [
            (b'{"a":1}\n{"a":2}\n', False, False),
            (b'{"a":1\n{"a":2}\n', False, False),  # a torn line costs one row
            (b'{"a":[\n1]}', False, True),
            (b'{"a":1', False, False),
            (b"[1]\n[2]\n", True, False),
            (b"[1]\n[2]\n", False, True),
            (b"[\n1]", True, True),
            (b"window", False, True),
            (b"window.YTD.x = [", True, True),
            (b"windows,b\n", False, False),
        ],
    )
    def test_what_spans_lines(self, head: bytes, is_named_lines: bool, expected: bool) -> None:
        """A first line that is whole, or only looks broken, begins JSON lines."""
        assert spans_lines(head, is_named_lines=is_named_lines) is expected


class TestJsonLines:
    """JSON lines."""

    def test_every_line_that_is_not_blank_is_a_row(self) -> None:
        """With its number; line breaks of Windows and a byte order mark are no part of it."""
        reader = JsonLines(io.BytesIO(b'\xef\xbb\xbf{"a":1}\r\n\n \t\n{"a":\r2}'))
        assert plain(list(reader.rows())) == [(1, b'{"a":1}'), (4, b'{"a": 2}')]

    def test_an_endless_line_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A line over the limit is reported with its true length and its start; memory stays bounded."""
        monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", 20_000)
        rows = list(JsonLines(io.BytesIO(b"{}\n" + b"x" * 55_555 + b"\n{}\n" + b"y" * 20_000)).rows())
        assert [(row.number, len(row.value)) for row in rows] == [(1, 2), (2, 10_000), (3, 2), (4, 10_000)]
        assert rows[1].problem
        assert (rows[1].problem.reason, rows[1].problem.detail) == (
            Reason.TOO_LARGE,
            "a line of 55,556 bytes",
        )

    def test_reading_can_go_on_at_the_end_of_any_row(self) -> None:
        """Offsets and line numbers go together."""
        data = b'{"a":1}\n\n{"b":2}\r\n{"c":3}'
        rows = list(JsonLines(io.BytesIO(data)).rows())
        for index, row in enumerate(rows):
            stream = io.BytesIO(data)
            stream.seek(row.end)
            assert list(JsonLines(stream, row.end, row.lines).rows()) == rows[index + 1 :]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: bytes(cramjam.zstd.compress(data)),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


class TestCompressed:
    """Compressed files."""

    @pytest.mark.parametrize("name", PACKERS)
    def test_a_compressed_file_is_recognised_by_its_content(self, name: str, tmp_path: Path) -> None:
        """Whatever it is called; several streams in one file, as `cat a.gz b.gz` makes them, are read on."""
        path = tmp_path / "rows.csv"
        text = "a,b\n" + "".join(f"{number},x\n" for number in range(200_000))
        path.write_bytes(PACKERS[name](text.encode()) + PACKERS[name](b"7,8\n"))
        file = OpenFile(str(path), Patient())
        rows = list(file.reader.rows())
        file.close()
        assert (file.format, file.compression, len(rows)) == ("csv", name, 200_001)
        assert rows[-1].value == ["7", "8"]
        assert rows[-1].number == 200_002

    @pytest.mark.parametrize("name", PACKERS)
    @pytest.mark.parametrize("cut", [True, False], ids=["cut", "damaged"])
    def test_damage_is_one_error_after_the_good_rows(self, name: str, cut: bool, tmp_path: Path) -> None:
        """A download that broke off, or nonsense inside: said as such, not taken for the end of the file."""
        path = tmp_path / "rows"
        text = "a,b\n" + "".join(f"{os.urandom(40).hex()},x\n" for _ in range(20_000))
        compressed = bytearray(PACKERS[name](text.encode()))
        if cut:
            del compressed[-len(compressed) // 3 :]
        else:
            compressed[100_000:300_000] = b"\xff" * 200_000
        path.write_bytes(compressed)
        with pytest.raises(DamagedFileError, match=f"{name} data is damaged or cut short"):
            read_file(path)

    @pytest.mark.parametrize("name", ["plain", *PACKERS])
    def test_a_load_can_go_on_inside(self, name: str, tmp_path: Path) -> None:
        """The place of a row is that in the unpacked content."""
        path = tmp_path / "rows"
        packers = {"plain": bytes} | PACKERS
        path.write_bytes(packers[name](b'a,b\n1,"x\ny"\n3,4\n5,6\n'))
        rows = read_file(path)
        assert read_file(path, (rows[0].end, rows[0].lines)) == rows[1:]

    @pytest.mark.parametrize("name", ["gzip", "zstd"])
    def test_bytes_after_the_compressed_data_are_damage(self, name: str, tmp_path: Path) -> None:
        """What follows the last stream is neither rows nor silently left out. (bzip2 and xz ignore it.)"""
        path = tmp_path / "rows"
        path.write_bytes(PACKERS[name](b"a,b\n1,2\n") + b"\xffgarbage" * 20)
        with pytest.raises(DamagedFileError):
            read_file(path)

    @pytest.mark.parametrize("name", PACKERS)
    def test_progress_is_that_of_the_file_on_disk(self, name: str, tmp_path: Path) -> None:
        """Bytes read of all bytes of the compressed file: the progress bar needs an end."""
        path = tmp_path / "rows"
        path.write_bytes(PACKERS[name](b"a,b\n" + os.urandom(2_000_000).hex().encode() + b",2\n3,4\n"))
        size = path.stat().st_size
        with OpenFile(str(path), Patient()) as file:
            begun, total = file.progress()
            assert total == size
            assert begun < size / 2
            list(file.reader.rows())
            assert file.progress() == (size, size)

    @pytest.mark.parametrize("name", PACKERS)
    def test_a_compressed_pipe_is_read_as_it_comes(self, name: str) -> None:
        """Byte by byte too: the format shows in the first ones, and a pipe cannot be rewound."""
        reader, writer = os.pipe()
        compressed = PACKERS[name](CSV.encode())

        def write() -> None:
            for at in range(len(compressed)):
                os.write(writer, compressed[at : at + 1])
            os.close(writer)

        thread = threading.Thread(target=write)
        thread.start()
        with OpenFile(f"/dev/fd/{reader}", Patient()) as file:
            assert [row.value for row in file.reader.rows()] == [["1", "2"], ["3", "4"]]
        thread.join()
        os.close(reader)

    def test_a_window_larger_than_the_usual_is_not_allocated(self, tmp_path: Path) -> None:
        """A zstd file that asks for a gigabyte of memory to read it is rejected, as by the zstd command."""
        path = tmp_path / "rows.zst"
        path.write_bytes(b"\x28\xb5\x2f\xfd\x00" + bytes([20 << 3]) + b"\x01\x00\x00")
        with pytest.raises(DamagedFileError, match="zstd data is damaged or cut short"):
            read_file(path)


class TestOpening:
    """What a file is."""

    @pytest.mark.parametrize(
        ("head", "name", "expected"),
        [
            (b'{"kind"', "x.csv", "jsonl"),
            (b'\xef\xbb\xbf \n{"kind"', "x", "jsonl"),
            (b"nonsense", "x.ndjson.gz", "jsonl"),
            (b"[1]", "x.jsonl", "jsonl"),
            (b"a,b", "x.json", "csv"),
            (b"[id],name", "x.csv", "csv"),
            (b"", "x", "csv"),
            (b"PAR1", "x", "parquet"),
        ],
    )
    def test_the_content_decides(self, head: bytes, name: str, expected: str) -> None:
        """The name helps only where the first bytes say nothing."""
        assert detect_format(head, name) == expected

    @pytest.mark.parametrize(
        ("head", "says"),
        [(b"PK\x03\x04", "zip archive or an Excel workbook"), (b"PK\x03\x04", "save the sheet as CSV")],
    )
    def test_formats_that_are_not_read_are_named(self, head: bytes, says: str) -> None:
        """With what to do about it."""
        with pytest.raises(OpeningError, match=says):
            detect_format(head, "x")

    def test_a_missing_file_and_a_folder_are_errors_of_one_line(self, tmp_path: Path) -> None:
        """No traceback for a misspelt name."""
        for path in (tmp_path / "nothing", tmp_path):
            with pytest.raises(OpeningError, match="cannot be opened"):
                OpenFile(str(path), Patient())

    def test_a_file_that_has_shrunk_cannot_be_gone_on_with(self, tmp_path: Path) -> None:
        """A place behind its end is not taken for its end."""
        path = tmp_path / "rows.csv"
        path.write_text(CSV)
        with pytest.raises(OpeningError, match="--restart"):
            OpenFile(str(path), Patient(), (1000, 50))

    def test_a_pipe_is_read_as_it_comes_and_can_be_stopped(self, tmp_path: Path) -> None:
        """While a pipe gives nothing, the reader asks what to do, and ends when told so."""
        path = tmp_path / "pipe"
        os.mkfifo(path)
        asked: list[int] = []

        class Impatient:
            def idle(self) -> None:
                asked.append(1)
                if len(asked) == 2:
                    raise StoppedError

        writer = os.open(path, os.O_RDWR)
        os.write(writer, CSV.encode())
        file = OpenFile(str(path), Impatient())
        got: list[object] = []
        with pytest.raises(StoppedError):
            got.extend(row.value for row in _each(file, got))
        assert got == [["1", "2"], ["3", "4"]]
        assert file.size is None
        file.close()
        os.close(writer)


def _each(file: OpenFile, got: list[object]) -> list[Row]:
    for row in file.reader.rows():
        got.append(row.value)
    return []


class TestParquet:
    """Parquet."""

    def table(self) -> pa.Table:
        """Rows with nested, listed, missing and very exact values."""
        return pa.table(
            {
                "post_id": [str(number) for number in range(5000)],
                "at": pa.array([1_782_120_600_123_456_789] * 5000, pa.timestamp("ns")),
                "actor": [{"id": "u", "country": None}] * 5000,
                "tags": [["a", "b"], None, *[["c"]] * 4998],
            }
        )

    @pytest.mark.parametrize("packer", ["plain", "gzip"])
    def test_rows_are_numbered_and_nested_columns_have_dotted_names(
        self, packer: str, tmp_path: Path
    ) -> None:
        """Also from a packed file, which is unpacked onto the disk first."""
        path = tmp_path / "rows"
        pq.write_table(self.table(), path, row_group_size=1000)
        if packer == "gzip":
            path.write_bytes(gzip.compress(path.read_bytes()))
        file = OpenFile(str(path), Patient())
        assert file.reader.columns == ["post_id", "at", "actor.id", "actor.country", "tags"]
        rows = list(file.reader.rows())
        assert file.progress() == (5000, 5000)
        file.close()
        assert [row.number for row in rows] == list(range(1, 5001))
        first = rows[0].value
        assert isinstance(first, list)
        assert (first[0], first[2:]) == ("0", ["u", None, ["a", "b"]])
        assert isinstance(first[1], datetime)
        assert first[1].microsecond == 123456

    @pytest.mark.parametrize("done", [1, 999, 1000, 1001, 4999, 5000])
    def test_a_load_can_go_on_after_any_row(self, done: int, tmp_path: Path) -> None:
        """Row groups that are done are not even read."""
        path = tmp_path / "rows.parquet"
        pq.write_table(self.table(), path, row_group_size=1000)
        file = OpenFile(str(path), Patient(), (done, done))
        numbers = [row.number for row in file.reader.rows()]
        file.close()
        assert numbers == list(range(done + 1, 5001))

    def test_damage_is_an_error_of_one_line(self, tmp_path: Path) -> None:
        """A file that only begins like Parquet."""
        path = tmp_path / "rows.parquet"
        path.write_bytes(b"PAR1" + b"x" * 100)
        with pytest.raises(OpeningError, match="damaged Parquet"):
            OpenFile(str(path), Patient())
