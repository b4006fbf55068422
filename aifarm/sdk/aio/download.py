"""A file's bytes: from the farm to a file, hashed, going on where a download broke off."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from aifarm.sdk import backoff
from aifarm.sdk.aio.http import AsyncHttp
from aifarm.sdk.aio.runtime import aside, sleep
from aifarm.sdk.call import Call
from aifarm.sdk.errors import (
    AIFarmError,
    CorruptDownload,
    FarmUnreachable,
    RateLimited,
    Unavailable,
)

logger = logging.getLogger(__name__)

_PASSING = (FarmUnreachable, Unavailable, RateLimited)


class AsyncDownload:
    """One file of `size` bytes; `call` asks for it from a byte on, `name` is for sentences."""

    def __init__(
        self, http: AsyncHttp, call: Callable[[int], Call[None]], size: int, sha256: str, name: str
    ) -> None:
        self._http = http
        self._call = call
        self._size = size
        self._sha256 = sha256
        self._name = name

    async def to(self, target: Path) -> Path:
        """Makes `target` hold the bytes. Raises CorruptDownload where the hash differs."""
        if await aside(_sha256, target) == self._sha256:
            return target
        part = target.with_name(f"{target.name}.{self._sha256[:12]}.part")
        await self._fetch(part)
        if await aside(_sha256, part) != self._sha256:
            part.unlink()
            raise CorruptDownload(
                f"{self._name} arrived with another sha256 than the farm has for it: "
                "download it again, or take an earlier one."
            )
        part.replace(target)
        return target

    async def _fetch(self, part: Path) -> None:
        """Appends to `part` until it is whole; tries again for as long as bytes arrive."""
        _append_nothing(part)
        tries = 0
        while (have := _length(part)) < self._size:
            try:
                await self._append(part, have)
            except AIFarmError as error:
                tries = 1 if _length(part) > have else tries + 1
                wait = backoff.again(tries, 1.0)
                if not isinstance(error, _PASSING) or wait is None:
                    raise
                logger.info("The download broke off at byte %s; again in %.1f s", have, wait)
                await sleep(wait)

    async def _append(self, part: Path, have: int) -> None:
        async with self._http.stream(self._call(have)) as (partial, chunks):
            with await aside(open, part, "ab" if partial else "wb") as file:
                async for chunk in chunks:
                    await aside(file.write, chunk)
        if _length(part) != self._size:
            raise CorruptDownload(
                f"{self._name} has {_length(part)} bytes where the farm said {self._size}."
            )


def file_at(path: str | os.PathLike[str], name: str) -> Path:
    """`path`, or the file of this `name` in it where it is a folder."""
    given = Path(path)
    return given / name if given.is_dir() else given


def file_under(folder: str | os.PathLike[str], path: str) -> Path:
    """`path` under `folder`, in folders that are made as needed. Raises CorruptDownload where it
    leads elsewhere."""
    target = Path(folder) / path
    if not target.resolve().is_relative_to(Path(folder).resolve()):
        raise CorruptDownload(f"{path} would not be written under {folder}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _append_nothing(path: Path) -> None:
    """An empty file is whole at once."""
    path.touch()


def _length(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _sha256(path: Path) -> str | None:
    """Of the file's bytes; None where there is no file."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
