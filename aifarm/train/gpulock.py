"""The locks that say that a worker is on a GPU, held until its last process ends."""

from __future__ import annotations

import fcntl
import os
import time

from aifarm.train.distributed import HostError

SECONDS = 1.0  # an agent that looks whether a GPU is free has the lock for a moment
LOOK_AGAIN = 0.02


def hold(files: list[str]) -> None:
    """Locks `files`, shared with other workers of the same agent. Raises HostError."""
    deadline = time.monotonic() + SECONDS
    for path in files:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)  # stays open
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise HostError(f"the lock {path} is held by another program") from None
                time.sleep(LOOK_AGAIN)
