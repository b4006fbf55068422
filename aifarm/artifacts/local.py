"""The same on a local disk, where being whole and durable takes a few system calls more."""

import os
import threading
import time
import uuid
from contextlib import suppress
from typing import Any

from aifarm.artifacts.storage import FsspecArtifacts

_ABANDONED = 3600.0


class LocalArtifacts(FsspecArtifacts):
    """Writes beside, syncs, then renames: a crash leaves no half part under a part's name."""

    def __init__(self, fs: Any, root: str) -> None:
        super().__init__(fs, root)
        self._temporary = f"{self._root}/tmp="
        # Nobody prunes a folder between its making and the rename into it.
        self._folders = threading.Lock()

    def check_writable(self) -> None:
        """As documented above it; also removes what crashed writers left."""
        with suppress(OSError):
            self._sweep()
        super().check_writable()

    def _write(self, path: str, data: bytes) -> None:
        folder = os.path.dirname(path)
        os.makedirs(self._temporary, exist_ok=True)
        temporary = f"{self._temporary}/{uuid.uuid4().hex}"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self._folders:
                os.makedirs(folder, exist_ok=True)
                os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        # Each folder up to the root may be new, by this call or by one that crashed.
        while len(folder) > len(self._root):
            _sync(folder)
            folder = os.path.dirname(folder)
        _sync(self._root)

    def _tidy(self, folder: str) -> None:
        with self._folders, suppress(OSError):
            while folder != self._root:
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    def _sweep(self) -> None:
        with os.scandir(self._temporary) as entries:
            for entry in entries:
                # Young ones may be another server's, at work on the same storage.
                if entry.stat().st_mtime < time.time() - _ABANDONED:
                    os.unlink(entry)


def _sync(folder: str) -> None:
    if os.name == "nt":  # folders cannot be opened there, renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
