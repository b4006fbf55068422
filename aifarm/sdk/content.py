"""What is put on the farm, as bytes that are the same each time; and how tasks name data."""

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urldefrag

from msgspec import Struct

from aifarm.sdk.call import valid
from aifarm.sdk.errors import InvalidRequest
from aifarm.wire.agent import DataRef
from aifarm.wire.rest import DataFull
from aifarm.wire.types import DataKind

CHUNK = 1 << 20

AnyData = DataFull | DataRef | str
"""What was put, or a URL."""


def data_refs(named: Mapping[str, AnyData] | None) -> dict[str, DataRef]:
    """As the wire has them. Raises InvalidRequest."""
    return {name: _ref(value) for name, value in (named or {}).items()}


def _ref(value: AnyData) -> DataRef:
    if isinstance(value, DataFull):
        return DataRef(value.url, value.sha256, folder=value.kind == "folder", size=value.size)
    if isinstance(value, DataRef):
        return value
    url, fragment = urldefrag(value)
    hashes = parse_qs(fragment).get("sha256")
    return valid(DataRef, url=url, sha256=hashes[0]) if hashes else valid(DataRef, url=value)


class Array(Protocol):
    """What NumPy arrays and torch tensors have in common."""

    dtype: Any
    shape: Any


class Content(Struct, frozen=True):
    """A file, or a folder of the files that lie in it by these paths; `temporary`: made for this
    alone."""

    name: str
    kind: DataKind
    path: Path
    files: dict[str, Path] = {}
    temporary: bool = False

    @classmethod
    def of(cls, what: object, name: str | None) -> "Content":
        """Raises InvalidRequest for what is no file, folder, array or tensor."""
        if isinstance(what, str | os.PathLike):
            path = Path(os.fspath(what)).expanduser()
            if path.is_dir():
                return cls(name or path.resolve().name, "folder", path, _files(path))
            if path.is_file():
                return cls(name or path.name, "file", path)
            raise InvalidRequest(f"There is no file and no folder {str(path)!r:.200}.")
        if hasattr(what, "dtype") and hasattr(what, "shape"):
            return cls(name or "array", "array", _npy(what), temporary=True)
        raise InvalidRequest(
            f"A {type(what).__name__} cannot be put: give the path of a file or folder, a NumPy "
            "array or a torch tensor."
        )

    def chunks(self) -> Iterator[bytes]:
        """Its bytes: a folder's as a tar archive without dates and owners."""
        if self.kind != "folder":
            yield from _read(self.path)
            return
        for path, source in self.files.items():
            info = tarfile.TarInfo(path)
            info.size = source.stat().st_size
            yield info.tobuf(tarfile.PAX_FORMAT)
            size = 0
            for chunk in _read(source):
                size += len(chunk)
                yield chunk
            if size != info.size:
                raise InvalidRequest(f"{source} changed while it was read: put it again.")
            yield bytes(-size % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def measured(self) -> tuple[int, str]:
        """(bytes, sha256)."""
        digest, size = hashlib.sha256(), 0
        for chunk in self.chunks():
            digest.update(chunk)
            size += len(chunk)
        return size, digest.hexdigest()

    def parts(self, size: int) -> Iterator[bytes]:
        """Its bytes in pieces of `size`, the last one may be shorter."""
        piece = bytearray()
        for chunk in self.chunks():
            piece += chunk
            while len(piece) >= size:
                yield bytes(piece[:size])
                del piece[:size]
        if piece:
            yield bytes(piece)

    def close(self) -> None:
        if self.temporary:
            self.path.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _npy(array: Any) -> Path:
    """The array in a temporary .npy file, which anyone can load without running its code."""
    import numpy

    if hasattr(array, "detach"):  # a tensor, perhaps with a gradient, perhaps on a GPU
        try:
            array = array.detach().cpu().numpy()
        except TypeError as error:
            raise InvalidRequest(
                f"The tensor cannot become an array ({error}): convert it, or save it to a file "
                "and put that."
            ) from None
    handle, name = tempfile.mkstemp(prefix="aifarm-", suffix=".npy")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            numpy.save(file, numpy.asarray(array, order="C"), allow_pickle=False)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, ValueError):
            raise InvalidRequest(f"The array cannot be put: {error}.") from None
        raise
    return path


def _files(root: Path) -> dict[str, Path]:
    """The regular files under `root` by their paths in it, in order. Raises InvalidRequest."""
    root = root.resolve()
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in [*names, *(name for name in folders if Path(folder, name).is_symlink())]:
            source = Path(folder, name)
            path = source.relative_to(root).as_posix()
            if not source.is_file():
                raise InvalidRequest(f"{path!r} in {root} is not a regular file: remove it.")
            if not source.resolve().is_relative_to(root):
                raise InvalidRequest(
                    f"The link {path!r} leaves the folder {root}: put a copy of its target there "
                    "instead."
                )
            found[path] = source
    if not found:
        raise InvalidRequest(f"The folder {root} has no files.")
    return dict(sorted(found.items()))
