"""The file of rejected rows: whole lines only, also on a disk that fills up."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class ErrorsFile:
    """JSON lines, each batch as a whole or not at all. Use as ``with``."""

    def __init__(self, path: Path, *, append: bool) -> None:
        """Raises OSError."""
        self._path = path
        self._file = path.open("ab" if append else "wb", buffering=0)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows. Raises OSError with the file's name, and then none of them is in the file."""
        data = memoryview(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
        start = self._file.seek(0, 2) if self._file.seekable() else None
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            if start is not None:
                with contextlib.suppress(OSError):
                    self._file.truncate(start)
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
