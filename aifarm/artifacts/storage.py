"""Parts as files `KEY/part=NNNNNNNN` on an fsspec file system.

No component of a key can hold a `=`, so parts, keys below a key, and temporary files never meet.
"""

import errno
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from aifarm.app.ports import Artifacts
from aifarm.app.records import Part
from aifarm.artifacts.errors import (
    ArtifactCorrupt,
    ArtifactError,
    ArtifactMissing,
    StorageFull,
    StorageUnavailable,
)

CHUNK = 1 << 20

_DEPTH = 3
_COMPONENT = r"(?!\.+(?:/|$))[0-9A-Za-z._-]{1,128}"
_KEY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT}){{0,{_DEPTH - 1}}}")
_PART = re.compile(r"part=\d{8}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FsspecArtifacts(Artifacts):
    """`Artifacts` where a written object appears whole or not at all, and is
    durable by then, as object stores promise. Methods block and may be called from any thread.
    """

    def __init__(self, fs: Any, root: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")

    def put_part(self, key: str, number: int, data: bytes) -> Part:
        """Stores `data`; durable when it returns, and harmless to repeat.

        Raises StorageFull and StorageUnavailable.
        """
        path = self._path(key, number)
        with _told(f"part {number} of {key} cannot be stored"):
            self._write(path, data)
        return Part(number=number, size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def read(self, key: str, parts: Sequence[Part], start: int, stop: int) -> Iterator[bytes]:
        """Bytes `start` to `stop` of the concatenated `parts`, at most CHUNK at once.

        One part is held in memory at a time; a part that is read whole is checked before any
        of it is given out. Raises ArtifactMissing, ArtifactCorrupt, StorageUnavailable.
        """
        self._folder(key)
        if not 0 <= start <= stop <= sum(part.size for part in parts):
            raise ValueError(f"bytes {start} to {stop} are not in {key}")
        return self._read(key, parts, start, stop)

    def delete(self, key: str) -> None:
        """Removes all parts of `key`; none need be there. Raises StorageUnavailable."""
        folder = self._folder(key)
        with _told(f"{key} cannot be deleted"):
            try:
                paths = self._fs.ls(folder, detail=False)
            except FileNotFoundError:
                return
            for path in paths:
                if _PART.fullmatch(path.rpartition("/")[2]):
                    with suppress(FileNotFoundError):
                        self._fs.rm_file(path)
            self._tidy(folder)

    def keys(self) -> Iterator[str]:
        """Every key with a stored part; what is not laid out as ours is passed over.

        A folder that cannot be listed is left out, so this tells what is there, never what is
        not. Raises StorageUnavailable.
        """
        with _told("the keys cannot be listed"):
            for folder, _, files in self._fs.walk(self._root, maxdepth=_DEPTH + 1):
                key = folder[len(self._root) :].strip("/")
                if _KEY.fullmatch(key) and any(_PART.fullmatch(name) for name in files):
                    yield key

    def check_writable(self) -> None:
        """Raises StorageUnavailable where nothing can be written; a full storage may yet serve."""
        probe = f"{self._root}/probe="
        with suppress(StorageFull), _told("it cannot be written"):
            self._write(probe, b"")
            with suppress(FileNotFoundError):
                self._fs.rm_file(probe)

    def _read(self, key: str, parts: Sequence[Part], start: int, stop: int) -> Iterator[bytes]:
        offset = 0
        for part in parts:
            first, last = max(start - offset, 0), min(stop - offset, part.size)
            if first < last:
                data = self._read_part(key, part, first, last)
                for at in range(0, len(data), CHUNK):
                    yield data[at : at + CHUNK]
            offset += part.size

    def _read_part(self, key: str, part: Part, first: int, last: int) -> bytes:
        with _told(f"part {part.number} of {key} cannot be read"):
            try:
                path = self._path(key, part.number)
                data: bytes = self._fs.cat_file(path, start=first, end=last)
            except FileNotFoundError:
                raise ArtifactMissing(f"Part {part.number} of {key} is not stored.") from None
        if len(data) != last - first:
            raise ArtifactCorrupt(f"Part {part.number} of {key} is cut short.")
        whole = last - first == part.size
        if whole and hashlib.sha256(data).hexdigest() != part.sha256:
            raise ArtifactCorrupt(f"Part {part.number} of {key} does not have its sha256.")
        return data

    def _folder(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r:.100} is no key of an artifact")
        return f"{self._root}/{key}"

    def _path(self, key: str, number: int) -> str:
        if not 0 <= number < 10**8:
            raise ValueError(f"{number} is no number of a part")
        return f"{self._folder(key)}/part={number:08}"

    def _write(self, path: str, data: bytes) -> None:
        self._fs.pipe_file(path, data)

    def _tidy(self, folder: str) -> None:
        """Removes what an empty `folder` leaves; object stores have no folders."""


def sha256_of(artifacts: Artifacts, key: str, parts: Sequence[Part]) -> str:
    """Hash of the concatenated `parts`, which are read and checked. Raises as `read` does."""
    digest = hashlib.sha256()
    for chunk in artifacts.read(key, parts, 0, sum(part.size for part in parts)):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _told(problem: str) -> Iterator[None]:
    """Any failure of a driver as an ArtifactError."""
    try:
        yield
    except ArtifactError:
        raise
    # Drivers raise what their own client libraries raise.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise StorageFull(
                f"The artifact storage is full, {problem} ({error.strerror}): free some space."
            ) from error
        raise StorageUnavailable(
            f"The artifact storage does not work, {problem}: {reason(error)}."
        ) from error


def reason(error: BaseException) -> str:
    """The end of a sentence, without its period."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
