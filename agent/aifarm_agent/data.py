"""The data that tasks name, on this disk: fetched once for all of them, kept while there is room.

`folder/ID/content` is a file or a folder, and `folder/ID/entry.json` says what it is; `ID.part` is
on its way. What the `data` folder of a run leads to, or a rank that is being prepared waits for,
is in use.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path

from msgspec import Struct

from aifarm.wire.agent import DataRef
from aifarm_agent.entries import Entry, Stored, load, remove, sha256_of, store
from aifarm_agent.events import RankKey
from aifarm_agent.rest import Rest
from aifarm_agent.shelf import NoRoom, Shelf
from aifarm_agent.sources import Source, Unobtainable, size_of, source_of

logger = logging.getLogger(__name__)

TOLD_SECONDS = 10.0
"""Between two words about a fetch that goes on."""
ROOM_SECONDS = 5.0
"""Between two looks whether others have done with what leaves no room."""

Tell = Callable[[str], None]


class Crowded(Exception):
    """Others used the room for as long as this rank may wait; the message is a sentence."""


class Found(Struct, frozen=True):
    """Where the data lies, and what it is."""

    path: Path
    stored: Stored


class Cache:
    """`limit` in bytes; None: a quarter of the disk, or half of what is free where that is less.
    `runs`: where the run folders are."""

    def __init__(self, folder: Path, runs: Path, rest: Rest, limit: int | None) -> None:
        self._folder = folder
        self._runs = runs
        self._rest = rest
        self._pins: defaultdict[RankKey, set[str]] = defaultdict(set)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        left = self._left()
        if limit is None:
            disk, held = shutil.disk_usage(folder), sum(size for _, size in left)
            limit = min(disk.total // 4, (disk.free + held) // 2)
        self._shelf = Shelf(limit)
        for entry_id, size in left:
            self._shelf.keep(entry_id, size)
        for entry_id in self._shelf.trim(self._in_use()):
            remove(self._retire(entry_id))

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self._shelf.size

    @property
    def limit(self) -> int:
        return self._shelf.limit

    async def get(
        self, key: RankKey, refs: Mapping[str, DataRef], tell: Tell, patience: float = inf
    ) -> dict[str, Found]:
        """The data of a rank by name, fetched if need be; it is in use until `release`.

        Waits where other ranks use what there is room for, and raises Crowded once it has done so
        for `patience` seconds. Raises Unobtainable, with a sentence, and OSError where this disk
        refuses.
        """
        until = None
        while True:
            alone = not self._in_use()
            try:
                return {name: await self._one(key, name, ref, tell) for name, ref in refs.items()}
            except NoRoom:
                self.release(key)  # two that wait must not keep what the other one waits for
            if alone and not self._in_use():
                raise Unobtainable(
                    f"The task's data {', '.join(refs)} are together larger than this client's "
                    f"cache, {_bytes(self.limit)}, whose owner can raise that with --cache."
                )
            if until is None:
                tell("waiting for room in the cache of data, which other tasks use")
                until = time.monotonic() + patience
            elif time.monotonic() >= until:
                raise Crowded(
                    f"Other tasks used the cache of data, {_bytes(self.limit)}, for the"
                    f" {patience:.0f} s that it waited for room: its other ranks may hold what"
                    " those wait for."
                )
            await asyncio.sleep(ROOM_SECONDS)

    def release(self, key: RankKey) -> None:
        """The rank is over, or its run folder says what it uses."""
        self._pins.pop(key, None)

    async def _one(self, key: RankKey, name: str, ref: DataRef, tell: Tell) -> Found:
        source = source_of(ref, self._rest)
        try:
            version = ""
            if ref.sha256 is None:
                version = (await source.look()).version or str(time.time_ns())
            entry_id = _id(ref, version)
            self._pins[key].add(entry_id)
            async with self._locks[entry_id]:  # the same may be wanted twice
                entry = await asyncio.to_thread(load, self._folder / entry_id)
                if entry is None:
                    entry = await self._bring(entry_id, name, ref, version, source, tell)
                else:
                    self._shelf.use(entry_id)
                    os.utime(self._folder / entry_id / "entry.json")
                    tell(f"{name}: {_bytes(entry.stored.size)}, on this client already")
        except Unobtainable as error:
            words = f"The data {name!r} ({ref.shown}) cannot be had: {error}."
            raise Unobtainable(words) from error
        return Found(self._folder / entry_id / "content", entry.stored)

    # ------------------------------------------------------------ fetching

    async def _bring(
        self, entry_id: str, name: str, ref: DataRef, version: str, source: Source, tell: Tell
    ) -> Entry:
        part = self._part(entry_id)
        size = ref.size if ref.size is not None else (await source.look()).size
        await self._make_room(entry_id, size or 0)
        tell(f"fetching {name}: {_bytes(size)} from {ref.shown}")
        began = time.monotonic()
        resumed = bool(size_of(part))
        digest = await self._fetched(source, part, name, size, tell)
        if resumed and ref.sha256 not in (None, digest):
            _discard(part)  # its beginning was of something else
            digest = await self._fetched(source, part, name, size, tell)
        if ref.sha256 not in (None, digest):
            _discard(part)
            self._shelf.drop(entry_id)
            raise Unobtainable(f"its sha256 is {digest}, not {ref.sha256}")
        size = size_of(part)
        stored = Stored(ref.shown, size, digest, version)
        seconds = time.monotonic() - began
        entry = await asyncio.to_thread(store, part, self._folder / entry_id, ref.folder, stored)
        await self._make_room(entry_id, entry.kept)
        tell(f"{name}: {_bytes(size)} fetched in {seconds:.1f} s, sha256 {digest}")
        return entry

    async def _fetched(
        self, source: Source, part: Path, name: str, size: int | None, tell: Tell
    ) -> str:
        """The sha256 of what is in `part` then."""
        work = asyncio.ensure_future(source.fetch(part, self.limit))
        try:
            while not (await asyncio.wait({work}, timeout=TOLD_SECONDS))[0]:
                have = size_of(part)
                told = f"{100 * have / size:.0f} %" if size else _bytes(have)
                tell(f"fetching {name}: {told}")
            await work
        finally:
            work.cancel()
        if size_of(part) > self.limit:
            _discard(part)
            raise self._too_large()
        return await asyncio.to_thread(sha256_of, part)

    async def _make_room(self, entry_id: str, size: int) -> None:
        """For so many bytes. Raises Unobtainable, NoRoom; then nothing of it is kept."""
        try:
            if size > self.limit:
                raise self._too_large()
            going = self._shelf.put(entry_id, size, self._in_use())
        except BaseException:
            self._shelf.drop(entry_id)
            await asyncio.to_thread(remove, self._retire(entry_id))
            raise
        for other, path in [(other, self._retire(other)) for other in going]:
            logger.info("the cache of data is full: %s goes", other)
            await asyncio.to_thread(remove, path)

    def _too_large(self) -> Unobtainable:
        return Unobtainable(
            f"it is larger than this client's cache, {_bytes(self.limit)}, whose owner can raise "
            "that with --cache"
        )

    # ------------------------------------------------------------ what lies here

    def _in_use(self) -> set[str]:
        pinned = {entry_id for pins in self._pins.values() for entry_id in pins}
        links = (link for link in self._runs.glob("*/data/*") if link.is_symlink())
        return pinned | {link.readlink().parent.name for link in links}

    def _left(self) -> list[tuple[str, int]]:
        """What an earlier agent left, and its bytes, in the order in which it was used."""
        found: list[tuple[float, str, int]] = []
        for path in self._folder.iterdir():
            entry = load(path)
            if path.suffix == ".part":
                found.append((path.stat().st_mtime, path.stem, path.stat().st_size))
            elif entry is not None and not path.suffix:
                found.append(((path / "entry.json").stat().st_mtime, path.name, entry.kept))
            else:
                remove(path)
        return [(entry_id, size) for _, entry_id, size in sorted(found)]

    def _retire(self, entry_id: str) -> Path:
        """Takes it away at once, so that nobody finds it; the path is to be removed."""
        self._part(entry_id).unlink(missing_ok=True)
        retired = self._folder / f"{entry_id}.gone{time.monotonic_ns()}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._folder / entry_id, retired)
        return retired

    def _part(self, entry_id: str) -> Path:
        return self._folder / f"{entry_id}.part"


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)


def _id(ref: DataRef, version: str) -> str:
    known = ref.sha256 or hashlib.sha256(f"{ref.url}\n{version}".encode()).hexdigest()
    kind = "" if ref.sha256 else "-url"
    return f"{known}{kind}{'-folder' if ref.folder else ''}"


def _bytes(size: int | None) -> str:
    if size is None:
        return "some bytes"
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size = round(size / 1024)
    return f"{size / 1024:.1f} TiB" if size >= 1024 else f"{size} GiB"
