"""A checkpoint's bytes: from the farm to a file, hashed, going on where a download broke off."""

import contextlib
import hashlib
import logging
import os
from datetime import datetime
from pathlib import Path

from aifarm.sdk import backoff, calls
from aifarm.sdk.aio.http import AsyncHttp
from aifarm.sdk.aio.runtime import aside, sleep
from aifarm.sdk.errors import (
    AIFarmError,
    CorruptDownload,
    FarmUnreachable,
    RateLimited,
    Unavailable,
)
from aifarm.wire.requests import PinCheckpoint
from aifarm.wire.rest import CheckpointFull
from aifarm.wire.types import Metrics

logger = logging.getLogger(__name__)

_PASSING = (FarmUnreachable, Unavailable, RateLimited)


class AsyncCheckpoint:
    """What a task resumes from, or ended with.

    `size` in bytes, `progress` in percent, `metrics` as they were at `step`; `final`: made by a
    completed training.
    """

    def __init__(self, http: AsyncHttp, task_id: str, info: CheckpointFull) -> None:
        self._http = http
        self.task_id = task_id
        self.info = info

    def __repr__(self) -> str:
        return f"<Checkpoint {self.id} of task {self.task_id}, step {self.step}>"

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def step(self) -> int:
        return self.info.step

    @property
    def epoch(self) -> int | None:
        return self.info.epoch

    @property
    def progress(self) -> float:
        return self.info.progress

    @property
    def size(self) -> int:
        return self.info.size

    @property
    def sha256(self) -> str:
        return self.info.sha256

    @property
    def metrics(self) -> Metrics:
        return self.info.metrics

    @property
    def final(self) -> bool:
        return self.info.final

    @property
    def created_at(self) -> datetime:
        return self.info.created_at

    @property
    def pinned(self) -> bool:
        """Whether it is kept until it is unpinned."""
        return self.info.pinned

    async def pin(self) -> None:
        """Keeps it, whatever the farm's policy clears away, until `unpin()`."""
        await self._pin(True)

    async def unpin(self) -> None:
        """Leaves it to the farm's policy again."""
        await self._pin(False)

    async def _pin(self, pinned: bool) -> None:
        call = calls.pin_checkpoint(self.task_id, self.id, PinCheckpoint(pinned=pinned))
        self.info = await self._http.send(call)

    async def delete(self) -> None:
        """Deletes it for good. Raises Conflict while it is pinned or the task may need it."""
        await self._http.send(calls.delete_checkpoint(self.task_id, self.id))

    async def download(self, path: str | os.PathLike[str]) -> Path:
        """Writes the bytes to `path`, or into the folder `path`, and returns where they are.

        What appears there has the checkpoint's sha256. A broken download goes on from its
        `.part` file, now or in a later call. Raises CorruptDownload where the hash differs.
        """
        target = _target(Path(path), f"{self.task_id}-step-{self.step}.pt")
        if await aside(_sha256, target) == self.sha256:
            return target
        part = target.with_name(f"{target.name}.{self.sha256[:12]}.part")
        await self._fetch(part)
        if await aside(_sha256, part) != self.sha256:
            part.unlink()
            raise CorruptDownload(
                f"Checkpoint {self.id} arrived with another sha256 than the farm has for it: "
                "download it again, or take an earlier one."
            )
        part.replace(target)
        return target

    async def _fetch(self, part: Path) -> None:
        """Appends to `part` until it is whole; tries again for as long as bytes arrive."""
        tries = 0
        while (have := _size(part)) < self.size:
            try:
                await self._append(part, have)
            except AIFarmError as error:
                tries = 1 if _size(part) > have else tries + 1
                wait = backoff.again(tries, 1.0)
                if not isinstance(error, _PASSING) or wait is None:
                    raise
                logger.info("The download broke off at byte %s; again in %.1f s", have, wait)
                await sleep(wait)

    async def _append(self, part: Path, have: int) -> None:
        call = calls.checkpoint_data(self.info, have)
        async with self._http.stream(call) as (partial, chunks):
            with await aside(open, part, "ab" if partial else "wb") as file:
                async for chunk in chunks:
                    await aside(file.write, chunk)
        if _size(part) != self.size:
            raise CorruptDownload(
                f"Checkpoint {self.id} has {_size(part)} bytes where the farm said {self.size}."
            )


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _target(path: Path, name: str) -> Path:
    return path / name if path.is_dir() else path


def _sha256(path: Path) -> str | None:
    """Of the file's bytes; None where there is no file."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
