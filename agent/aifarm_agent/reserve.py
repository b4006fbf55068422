"""Room on the disk that is kept for the outbox: results must be written when all else is full."""

import contextlib
import os
import shutil
from pathlib import Path

SIZE = 32 << 20
"""Bytes, which checkpoints leave alone too: results and the ends of logs of many tasks."""


class Reserve:
    """A file of `size` bytes that only takes room."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self._path = path
        self._size = size

    def spend(self) -> bool:
        """The disk is full: the outbox gets the room. False where that is done already."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def keep(self) -> bool:
        """Blocking. Makes the file where as much room again is left; whether it stands now."""
        if self._path.exists():
            return True
        try:
            if shutil.disk_usage(self._path.parent).free < 2 * self._size:
                return False
            made = self._path.with_suffix(".new")
            with open(made, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
            os.replace(made, self._path)
        except OSError:  # full meanwhile
            with contextlib.suppress(OSError):
                self._path.with_suffix(".new").unlink(missing_ok=True)
            return False
        return True
