"""One piece of data on this disk: `content`, a file or a folder, and `entry.json` beside it.

Everything here blocks.
"""

import hashlib
import os
import shutil
import tarfile
from pathlib import Path

import msgspec
from msgspec import Struct

from aifarm_agent.sources import Unobtainable


class Stored(Struct, frozen=True, omit_defaults=True):
    """Data on this disk. `url` as everybody may see it; `size` and `sha256` of what was fetched;
    `version`: what its source said of it, where the task named no hash."""

    url: str
    size: int
    sha256: str
    version: str = ""


class Entry(Struct, frozen=True):
    """`kept`: bytes on this disk. `mtime`: of the content, in ns; another one is not what was
    stored."""

    stored: Stored
    kept: int
    mtime: int


def load(path: Path) -> Entry | None:
    """None where it is not here, or no longer what it was."""
    try:
        entry = msgspec.json.decode((path / "entry.json").read_bytes(), type=Entry)
        seen = (path / "content").stat()
    except (OSError, msgspec.DecodeError):
        return None
    return entry if seen.st_mtime_ns == entry.mtime else None


def store(part: Path, path: Path, unpacked: bool, stored: Stored) -> Entry:
    """Makes an entry of what was fetched, at once or not at all. Raises Unobtainable, OSError."""
    fresh = path.with_name(f"{path.name}.new")
    remove(fresh)
    fresh.mkdir(mode=0o700)
    content = fresh / "content"
    kept = stored.size
    try:
        if unpacked:
            kept = _unpack(part, content)
        else:
            os.rename(part, content)
        _protect(content)
        entry = Entry(stored, kept, content.stat().st_mtime_ns)
        (fresh / "entry.json").write_bytes(msgspec.json.encode(entry))
        remove(path)
        os.rename(fresh, path)
    finally:
        remove(fresh)
        part.unlink(missing_ok=True)
    return entry


def remove(path: Path) -> None:
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(archive: Path, content: Path) -> int:
    """Regular files and folders alone, all of them inside; returns their bytes."""
    content.mkdir()
    kept, room = 0, shutil.disk_usage(content).free
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if not (member.isreg() or member.isdir()):
                    raise Unobtainable(f"{member.name!r:.200} in it is no regular file")
                kept += member.size
                if kept > room:
                    raise OSError(f"{archive.name} does not fit on this disk when it is unpacked")
                tar.extract(member, content, filter="data")
    except tarfile.TarError as error:
        raise Unobtainable(f"it cannot be unpacked as a tar archive ({error})") from error
    return kept


def _protect(content: Path) -> None:
    """So that no task changes by mistake what the others see."""
    if content.is_file():
        content.chmod(0o444)
    for folder, _, names in os.walk(content):
        for name in names:
            os.chmod(os.path.join(folder, name), 0o444)
        os.chmod(folder, 0o555)
