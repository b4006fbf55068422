"""Reading an archive that may be hostile: nothing in it is believed before it is measured."""

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from aifarm.packages.manifest import (
    LIMITS,
    MANIFEST,
    MAX_MANIFEST,
    MAX_PATH,
    Limits,
    Manifest,
    PackageInvalid,
    check_paths,
    decode,
)

CHUNK = 1 << 20

# The record that ends a zip: signature, two disk numbers, entries here and in all, size and
# offset of the directory, length of the comment.
_END = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR = 20
_DIRECTORY_ENTRY = 46
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_MSDOS_FOLDER = 0x10


def verify(archive: bytes | Path, sha256: str | None = None, limits: Limits = LIMITS) -> Manifest:
    """The manifest of an archive that is exactly what it declares.

    `sha256` is the archive's own, where it is known. Raises PackageInvalid, and OSError where
    `archive` cannot be read.
    """
    with verified(archive, sha256, limits) as (_, manifest):
        return manifest


@contextmanager
def verified(
    archive: bytes | Path, sha256: str | None, limits: Limits
) -> Iterator[tuple[ZipFile, Manifest]]:
    """The open archive and its manifest, after all that `verify` checks."""
    with BytesIO(archive) if isinstance(archive, bytes) else open(archive, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size > limits.archive:
            raise PackageInvalid(
                f"The package has {size} bytes, more than the {limits.archive} allowed: "
                "keep data and weights out of it."
            )
        file.seek(0)
        actual = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 is not None and actual != sha256:
            raise PackageInvalid(
                f"The package has the sha256 {actual}, not the expected {sha256}: "
                "it was changed or damaged on its way."
            )
        with _broken_is_invalid():
            _check_directory(file, size, limits)
            opened = ZipFile(file)
        with opened:
            with _broken_is_invalid():
                manifest = _check_entries(opened)
            _check_contents(opened, manifest, size, limits)
            yield opened, manifest


def content(archive: ZipFile, path: str, sha256: str) -> Iterator[bytes]:
    """The bytes of one file, at most CHUNK at once. Raises PackageInvalid after the last of them
    where they are not those of `sha256`."""
    digest = hashlib.sha256()
    with _broken_is_invalid(), archive.open(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != sha256:
        raise PackageInvalid(f"The package's file {path!r} does not have its declared sha256.")


@contextmanager
def _broken_is_invalid() -> Iterator[None]:
    try:
        yield
    except PackageInvalid:
        raise
    # What zipfile raises for damaged input is not one family.
    except (
        BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        reason = str(error).rstrip(".")
        raise PackageInvalid(f"The package is a damaged zip archive: {reason:.200}.") from error


def _check_directory(file: IO[bytes], size: int, limits: Limits) -> None:
    """Bounds the table of contents before zipfile makes objects of it.

    Only the plainest layout is accepted: nothing before, between or after, no zip64.
    """
    not_a_zip = PackageInvalid("The package is not a plain zip archive: make it with aifarm.")
    end = size - _END.size
    if end < 0:
        raise not_a_zip
    file.seek(end)
    signature, *_, length, offset, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\5\6" or comment or offset + length != end:
        raise not_a_zip
    too_many = PackageInvalid(f"The package has more than {limits.files} files.")
    if length > (limits.files + 1) * (_DIRECTORY_ENTRY + 2 * MAX_PATH):
        raise too_many
    file.seek(offset)
    directory = file.read(length)
    if directory[-_ZIP64_LOCATOR:].startswith(b"PK\6\7"):
        raise not_a_zip
    if directory.count(b"PK\1\2") > limits.files + 1:
        raise too_many


def _check_entries(archive: ZipFile) -> Manifest:
    infos = {info.orig_filename: info for info in archive.infolist()}
    if len(infos) < len(archive.infolist()):
        raise PackageInvalid("The package has two entries of one name.")
    check_paths(infos)
    for path, info in infos.items():
        _check_entry(path, info)
    if MANIFEST not in infos:
        raise PackageInvalid(f"The package has no {MANIFEST}: make it with aifarm.")
    with archive.open(MANIFEST) as file:
        data = file.read(MAX_MANIFEST + 1)
    if len(data) > MAX_MANIFEST:
        raise PackageInvalid(f"The package's {MANIFEST} is larger than {MAX_MANIFEST} bytes.")
    manifest = decode(data)
    found = infos.keys() - {MANIFEST}
    if undeclared := found - manifest.files.keys():
        raise PackageInvalid(f"The package's {MANIFEST} does not declare {min(undeclared)!r}.")
    if missing := manifest.files.keys() - found:
        raise PackageInvalid(f"The package lacks the declared file {min(missing)!r}.")
    return manifest


def _check_entry(path: str, info: ZipInfo) -> None:
    # zipfile cuts names at a NUL and may take another name from an extra field.
    if info.filename != path:
        raise PackageInvalid(f"The package's entry {path!r:.100} has a second name.")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.external_attr & _MSDOS_FOLDER:
        raise PackageInvalid(
            f"The package's entry {path!r:.100} is a link, a folder or a device: "
            "only regular files are allowed."
        )
    if info.flag_bits & _ENCRYPTED:
        raise PackageInvalid(f"The package's entry {path!r:.100} is encrypted.")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise PackageInvalid(f"The package's entry {path!r:.100} is neither stored nor deflated.")


def _check_contents(archive: ZipFile, manifest: Manifest, size: int, limits: Limits) -> None:
    """Hashes and measures each file while reading; sizes in headers are not believed."""
    allowed = min(limits.unpacked, limits.ratio * size)
    unpacked = 0
    for path, sha256 in manifest.files.items():
        for chunk in content(archive, path, sha256):
            unpacked += len(chunk)
            if unpacked > allowed:
                raise PackageInvalid(
                    f"The package unpacks to more than the {allowed} bytes allowed "
                    f"({limits.ratio} times its own size, {limits.unpacked} at most)."
                )
