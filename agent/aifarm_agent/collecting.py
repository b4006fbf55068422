"""Which files of a run its task keeps, read while the script may be writing them. Blocking.

Only regular files under the run's working folder are taken, and links to such: a linked folder is
never entered, and what a link leads to elsewhere (a mount) is not the task's.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from aifarm.wire.agent import MAX_OUTPUTS
from aifarm.wire.globs import named
from aifarm.wire.types import RelativePath

WEIGHTS = "weights.safetensors"
"""What the final weights are called, in the run folder and among the outputs."""
CHUNK = 1 << 20
RESERVE = 1 << 30
"""Bytes of the disk that copies leave free."""


class Seen(msgspec.Struct, frozen=True):
    """A file as the server was last told of it. `changed`: its mtime then, in nanoseconds."""

    size: int
    sha256: str
    changed: int


class Found(msgspec.Struct, frozen=True):
    """A file that the server does not have so; `source` holds its bytes and does not change."""

    path: str
    source: Path
    seen: Seen


class Look(msgspec.Struct, frozen=True):
    """What one look found: what is new, what is gone, and what the task's log should say."""

    found: list[Found]
    gone: list[str]
    said: list[str]


class _Busy(Exception):
    """The file is being written."""


def look(run: Path, globs: Sequence[str], told: dict[str, Seen], final: bool) -> Look:
    """Compares what is there with what the server was `told`. While the script lives, what is new
    is copied to `run`/staging; a file that changes meanwhile is left as it was told.
    """
    staging = run / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    paths, said = _named(run, globs)
    found = []
    for number, (path, source) in enumerate(paths.items()):
        copy = None if final else staging / str(number)
        try:
            home = run if source == run / WEIGHTS else run / "work"
            new = _read(path, source, home, told.get(path), copy)
        except (_Busy, FileNotFoundError):
            continue
        except OSError as error:
            said.append(f"The output {path} cannot be read: {error.strerror or error}.")
            continue
        if new is not None:
            found.append(new)
    return Look(found, _gone(run, told, paths), said)


def load(run: Path) -> dict[str, Seen]:
    """What the server was told of this run's files."""
    try:
        return msgspec.json.decode((run / "outputs.json").read_bytes(), type=dict[str, Seen])
    except (OSError, msgspec.DecodeError):
        return {}


def save(run: Path, told: dict[str, Seen]) -> None:
    fresh = run / "outputs.json.new"
    fresh.write_bytes(msgspec.json.encode(told))
    os.replace(fresh, run / "outputs.json")


def _named(run: Path, globs: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """What the globs name, by path, and what is to be said of it."""
    work = run / "work"
    found = {
        path: work / path for path in sorted(_files(work) if globs else ()) if named(path, globs)
    }
    said = []
    for path in [path for path in found if not _tellable(path)]:
        said.append(f"The output {path!r} is not kept: its name is not plain text.")
        del found[path]
    if (run / WEIGHTS).is_file():
        found.setdefault(WEIGHTS, run / WEIGHTS)
    if len(found) > MAX_OUTPUTS:
        said.append(
            f"{len(found):,} files are named by `outputs`; only the first {MAX_OUTPUTS:,} are kept."
        )
        found = dict(list(found.items())[:MAX_OUTPUTS])
    return found, said


def _files(work: Path) -> Iterator[str]:
    for folder, _, names in os.walk(work):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), work)


def _tellable(path: str) -> bool:
    try:
        path.encode()
        msgspec.convert(path, RelativePath)
    except (UnicodeEncodeError, msgspec.ValidationError):
        return False
    return True


def _read(
    path: str, source: Path, home: Path, known: Seen | None, copy: Path | None
) -> Found | None:
    """The file, unless it is none, not under `home`, or as it is `known`. Raises _Busy, OSError."""
    with open(source, "rb", opener=_without_waiting) as file:
        state = os.fstat(file.fileno())
        real = os.readlink(f"/proc/self/fd/{file.fileno()}")
        if not stat.S_ISREG(state.st_mode) or not Path(real).is_relative_to(home.resolve()):
            return None
        if known is not None and (known.size, known.changed) == (state.st_size, state.st_mtime_ns):
            return None
        sha256 = _copy(file, state.st_size, copy)
        after = os.fstat(file.fileno())
    if (after.st_size, after.st_mtime_ns) != (state.st_size, state.st_mtime_ns):
        raise _Busy
    seen = Seen(state.st_size, sha256, state.st_mtime_ns)
    return Found(path, Path(real) if copy is None else copy, seen)


def _copy(file: BinaryIO, size: int, copy: Path | None) -> str:
    """The sha256 of what is read, and written to `copy` if there is one."""
    digest = hashlib.sha256()
    if copy is None:
        return hashlib.file_digest(file, "sha256").hexdigest()
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    if shutil.disk_usage(copy.parent).free - size < RESERVE:
        raise OSError("the disk has no room for a copy while it may be written")
    with open(copy, "wb") as target:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _gone(run: Path, told: dict[str, Seen], paths: dict[str, Path]) -> list[str]:
    """What the script removed. Where it has not begun there is no working folder yet, or what was
    kept still waits to be moved there."""
    if not (run / "work").is_dir():
        return []
    return [
        path for path in told if path not in paths and not os.path.lexists(run / "outputs" / path)
    ]


def _without_waiting(path: str, flags: int) -> int:
    """Opening a named pipe would wait for whoever writes to it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
