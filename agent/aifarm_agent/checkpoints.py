"""The checkpoints on this disk, by task and sha256: what was written here, what was fetched.

A kept checkpoint is a hard link to the worker's file, so it costs nothing and survives the
worker's own cleaning up as well as the run folder.
"""

import contextlib
import dataclasses
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from aifarm_agent.events import Checkpoint

logger = logging.getLogger(__name__)

KEEP = 2
"""Checkpoints of a task that runs here; of one that does not, the newest."""
MAX_AGE = 14 * 86400.0


class Checkpoints:
    """Files `folder/TASK/STEP-SHA256.pt`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, task_id: str, run: Path, written: Checkpoint) -> Checkpoint | None:
        """`written` as it is kept; None where its file is gone, or not of its run folder."""
        kept = self.path(task_id, written.step, written.sha256)
        if not kept.exists():
            source = Path(written.path)
            try:
                if source.resolve(strict=True).parent != (run / "checkpoints").resolve():
                    raise OSError("it is not in its run folder")
                kept.parent.mkdir(mode=0o700, exist_ok=True)
                os.link(source, kept, follow_symlinks=False)
            except OSError as error:
                logger.warning("the checkpoint %s cannot be kept: %s", source, error)
                return None
        return dataclasses.replace(written, path=str(kept))

    def path(self, task_id: str, step: int, sha256: str) -> Path:
        return self._folder / task_id / f"{step:012d}-{sha256}.pt"

    def find(self, sha256: str) -> Path | None:
        """A file that should have these bytes; `intact` says whether it has."""
        return next(self._folder.glob(f"*/*-{sha256}.pt"), None)

    def prune(self, task_id: str, keep: int, needed: Collection[str] = ()) -> None:
        """Removes all but the last `keep` of a task, and those whose path is `needed`."""
        files = sorted((self._folder / task_id).glob("*.pt"))
        for file in files[: max(0, len(files) - keep)]:
            if str(file) not in needed:
                file.unlink(missing_ok=True)

    def expire(self, known: Collection[str], now: float | None = None) -> None:
        """Removes what was left of tasks that are not `known` here and is older than MAX_AGE."""
        oldest = (time.time() if now is None else now) - MAX_AGE
        for folder in self._folder.iterdir():
            if folder.name not in known:
                with contextlib.suppress(OSError):
                    if max((f.stat().st_mtime for f in folder.iterdir()), default=0.0) < oldest:
                        shutil.rmtree(folder)


def intact(path: Path, size: int, sha256: str) -> bool:
    """Whether the file has these bytes."""
    try:
        if path.stat().st_size != size:
            return False
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False
