"""What ended attempts left in their working folders: for a while it stays on this machine."""

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from aifarm_agent.events import RankKey

logger = logging.getLogger(__name__)

MAX_AGE = 14 * 86400.0
SHORT = 10 << 30
"""Free bytes of the disk below which the oldest go before their time; or a twentieth of the disk,
where that is less."""


class Held(NamedTuple):
    """How much there is: working folders, and bytes in them."""

    folders: int
    size: int


class Kept:
    """Folders `folder/TASK.ATTEMPT.RANK`, as old as their modification time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, key: RankKey, work: Path) -> None:
        """Moves a working folder here; one that is empty, or not there, is left."""
        try:
            if not work.is_dir() or not any(work.iterdir()):
                return
            os.utime(work)
            target = self._folder / f"{key.task_id}.{key.attempt}.{key.rank}"
            shutil.rmtree(target, ignore_errors=True)
            work.rename(target)
        except OSError as error:
            logger.warning("%s: its files cannot be kept: %s", key, error)

    def sweep(self) -> None:
        """Removes what is older than MAX_AGE, and the oldest while the disk is short. Blocks."""
        oldest = time.time() - MAX_AGE
        for folder in sorted(self._folder.iterdir(), key=_age):
            disk = shutil.disk_usage(self._folder)
            if _age(folder) < oldest or disk.free < min(SHORT, disk.total // 20):
                logger.info("removing the files of %s", folder.name)
                shutil.rmtree(folder, ignore_errors=True)

    def held(self) -> Held:
        """Blocks."""
        folders, size = 0, 0
        for folder in self._folder.glob("*"):
            folders += 1
            for path, _, names in os.walk(folder):
                for name in names:
                    with contextlib.suppress(OSError):
                        size += os.lstat(os.path.join(path, name)).st_size
        return Held(folders, size)


def _age(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
