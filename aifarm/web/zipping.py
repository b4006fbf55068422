"""Stored files as one zip archive, made while it is sent."""

import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from zipfile import ZIP64_LIMIT, ZipFile, ZipInfo

from aifarm.app.ports import Artifacts
from aifarm.app.records import OutputRecord

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""What a zip archive can tell of a time; it knows no zones, and here they are UTC."""


def zipped(artifacts: Artifacts, files: Iterable[OutputRecord]) -> Iterator[bytes]:
    """The archive piece by piece, none of them empty: blocks, and holds one piece in memory. What
    is kept is mostly weights, so nothing is compressed."""
    sink = _Sink()
    with ZipFile(sink, "w") as archive:
        for file in files:
            at = datetime.fromtimestamp(file.created_at, UTC).timetuple()[:6]
            info = ZipInfo(file.path, max(at, EARLIEST))
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=file.size >= ZIP64_LIMIT) as entry:
                for chunk in artifacts.read(file.key, file.parts, 0, file.size):
                    entry.write(chunk)
                    yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """Where the archive is written to: it cannot be gone back in, so each entry says its sizes
    behind its bytes."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(memoryview(data))

    def taken(self) -> bytes:
        """What was written since the last call."""
        piece = bytes(self._written)
        self._written.clear()
        return piece
