"""Which agent of this host has a GPU: several, of several owners, may run here.

Two files for each GPU lie in a folder that all share, and only locks on them count. UUID.agent is
locked by the agent whose tasks have the GPU; UUID.workers, shared, by each worker on it, so that
workers which outlive their agent keep it. The kernel lets go of both when their holders end.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from aifarm_agent.events import RankKey

logger = logging.getLogger(__name__)

FOLDER = Path("/tmp/aifarm-gpu-locks")
SURE = 1.0
LOOK_AGAIN = 0.02


class GpuTaken(Exception):
    """Another agent's tasks have the GPU; the message is one sentence."""


class GpuLocks:
    """What this agent has of the GPUs, by the ranks that use them."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._locks: dict[str, int] = {}
        self._users: dict[str, set[RankKey]] = {}

    async def claim(self, key: RankKey, uuids: Sequence[str]) -> list[str]:
        """Has the GPUs for a rank; returns the files that its worker is to lock.

        Raises GpuTaken once that is sure, as an earlier worker may take a moment to end, and
        OSError where GPUs cannot be locked at all.
        """
        deadline = time.monotonic() + SURE
        while True:
            try:
                return self._take(key, uuids, workers_too=True)
            except GpuTaken:
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(LOOK_AGAIN)

    def reclaim(self, key: RankKey, uuids: Sequence[str]) -> None:
        """As `claim`, for a rank whose worker runs already: it stays, whoever else has them."""
        try:
            self._take(key, uuids, workers_too=False)
        except (GpuTaken, OSError) as error:
            logger.warning("%s: %s", key, error)

    def release(self, key: RankKey) -> None:
        """The rank's worker is gone."""
        for uuid, users in list(self._users.items()):
            users.discard(key)
            if not users:
                del self._users[uuid]
                os.close(self._locks.pop(uuid))

    def taken(self, uuid: str) -> bool:
        """Whether another agent's tasks have it now."""
        if uuid in self._locks:
            return False
        try:
            agent = _is_free(self._path(uuid, "agent"), fcntl.LOCK_SH)
            return not agent or not _is_free(self._path(uuid, "workers"), fcntl.LOCK_EX)
        except OSError as error:
            logger.debug("the locks of %s: %s", uuid, error)
            return False

    def _take(self, key: RankKey, uuids: Sequence[str], workers_too: bool) -> list[str]:
        files = []
        try:
            for uuid in uuids:
                if uuid not in self._locks:
                    self._locks[uuid] = self._lock(uuid, workers_too)
                self._users.setdefault(uuid, set()).add(key)
                files.append(str(self._path(uuid, "workers")))
        except BaseException:
            self.release(key)
            raise
        return files

    def _lock(self, uuid: str, workers_too: bool) -> int:
        with contextlib.suppress(FileExistsError):
            self._folder.mkdir()
            self._folder.chmod(0o1777)  # as /tmp: all may write, and remove only what is theirs
        workers = _make(self._path(uuid, "workers"))
        lock = _try_lock(_make(self._path(uuid, "agent")), fcntl.LOCK_EX)
        if lock is not None and workers_too and not _is_free(workers, fcntl.LOCK_EX):
            os.close(lock)
            lock = None
        if lock is None:
            raise GpuTaken(f"{uuid} is in use by another agent of this machine.")
        return lock

    def _path(self, uuid: str, whose: str) -> Path:
        return self._folder / f"{uuid.replace('/', '_')}.{whose}"


def _make(path: Path) -> Path:
    """Readable by all, which is enough to lock it."""
    with contextlib.suppress(FileExistsError):
        made = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.fchmod(made, 0o644)
        os.close(made)
    return path


def _is_free(path: Path, how: int) -> bool:
    """Whether the lock could be had now."""
    try:
        lock = _try_lock(path, how)
    except FileNotFoundError:
        return True
    if lock is None:
        return False
    os.close(lock)
    return True


def _try_lock(path: Path, how: int) -> int | None:
    """A descriptor that holds the lock, or None where somebody else does."""
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock
