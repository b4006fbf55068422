"""What a rank needs before it starts, from the server and elsewhere; its checkpoints, to the
server."""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from aifarm.wire.agent import AssignedTask, CheckpointRef, FarmAssignment, PackageRef
from aifarm_agent import events
from aifarm_agent.checkpoints import Checkpoints, intact
from aifarm_agent.data import Cache, Crowded, Found
from aifarm_agent.events import Checkpoint, RankKey, Report
from aifarm_agent.outputs import Outputs
from aifarm_agent.plan import Package
from aifarm_agent.rest import Refused, Rest
from aifarm_agent.sources import Unobtainable

if TYPE_CHECKING:
    from aifarm.packages import Manifest

logger = logging.getLogger(__name__)

AT_ONCE = 2
"""Transfers that go on at the same time."""
TRUSTED = 10.0
"""Seconds for which a verified package is taken as it is: a crowd of short tasks would otherwise
hash the same files again for each."""
GANG_WAITS = 60.0
"""Seconds, at least, that a rank of a gang waits for room in the cache in its first attempt."""
LONGEST_WAIT = 10
"""Times GANG_WAITS that it waits in the end."""
NOT_WHOLE = (0, 404)
"""How it is refused what the server does not have whole: with other bytes, or not at all."""

Told = Callable[[RankKey, Report], None]


class Prepared(Protocol):
    def __call__(
        self,
        key: RankKey,
        task: AssignedTask,
        package: Package,
        resume: Path | None,
        data: Mapping[str, Found],
    ) -> None:
        """Everything that the rank needs is on this disk."""


class Transfers:
    """Orders are answered through `prepared` and `told`, unless they are cancelled."""

    def __init__(
        self,
        packages: Path,
        checkpoints: Checkpoints,
        outputs: Outputs,
        cache: Cache,
        rest: Rest,
        prepared: Prepared,
        told: Told,
    ) -> None:
        self._packages = packages
        self._checkpoints = checkpoints
        self._outputs = outputs
        self._cache = cache
        self._rest = rest
        self._prepared = prepared
        self._told = told
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._fetching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._verified: dict[str, tuple[float, Package]] = {}
        self._tasks: dict[RankKey, set[asyncio.Task[None]]] = {}
        self._waiting: dict[RankKey, dict[str, tuple[Checkpoint, asyncio.Task[None]]]] = {}

    def prepare(self, key: RankKey, task: AssignedTask) -> None:
        """Answered by `prepared`, or by Failed."""
        self._spawn(key, self._prepare(key, task))

    def upload(self, key: RankKey, checkpoint: Checkpoint) -> None:
        """Answered by CheckpointStored or CheckpointDropped.

        A newer one takes the place of those of its rank that wait, but for final ones, and for
        the best one until there is a better one.
        """
        waiting = self._waiting.setdefault(key, {})
        for older, task in list(waiting.values()):
            if not older.final and (checkpoint.best or not older.best):
                task.cancel()
                del waiting[older.path]
                dropped = events.CheckpointDropped(older, "a newer one takes its place")
                asyncio.get_running_loop().call_soon(self._told, key, dropped)
        task = self._spawn(key, self._upload(key, checkpoint))
        waiting[checkpoint.path] = (checkpoint, task)

    def cancel(self, key: RankKey) -> None:
        """Ends what goes on for this rank, without an answer."""
        self._waiting.pop(key, None)
        self._cache.release(key)
        for task in self._tasks.pop(key, set()):
            task.cancel()

    async def close(self) -> None:
        tasks = [task for group in self._tasks.values() for task in group]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._rest.close()

    async def _prepare(self, key: RankKey, task: AssignedTask) -> None:
        farm = task.farm
        assert farm  # noqa: S101 - for mypy; the session takes no task without
        try:
            package = await self._package(farm.package)
            await self._restore(key, task)
            data = await self._cache.get(
                key, farm.data, lambda words: self._tell(key, words), _patience(farm)
            )
            resume = None
            if farm.resume:  # last: until the rank is prepared, nobody knows that it is needed
                async with self._fetching[farm.resume.sha256]:  # by several ranks on this machine
                    resume = await self._resume(key, farm.resume)
            self._prepared(key, task, package, resume, data)
        except _Unusable as error:
            self._told(key, events.Failed(error.cause, str(error)))
        except Unobtainable as error:
            # What the task itself names: no other client would have it, nor is this one to blame.
            self._told(key, events.Failed("user_error", str(error)))
        except Crowded as error:
            self._told(key, events.Failed("no_room", str(error)))
        except OSError as error:
            words = f"This machine cannot store what the task needs: {error}."
            self._told(key, events.Failed("agent_lost", words))

    def _tell(self, key: RankKey, words: str) -> None:
        """A line in the log of the rank, which does not run yet."""
        self._told(key, events.LogLines([f"[aifarm] {words}"]))

    async def _package(self, ref: PackageRef) -> Package:
        from aifarm.packages import PackageInvalid

        now = asyncio.get_running_loop().time()
        verified_at, package = self._verified.get(ref.sha256, (-TRUSTED, None))
        if package is not None and now < verified_at + TRUSTED:
            return package
        archive = self._packages / f"{ref.sha256}.zip"
        async with self._fetching[ref.sha256]:  # the same one may be wanted twice
            try:
                manifest = await asyncio.to_thread(self._unpacked, archive, ref)
                if manifest is None:
                    async with self._slots:
                        path = f"/models/{ref.name}/{ref.version}"
                        await self._rest.download(path, archive, ref.size, ref.sha256)
                    manifest = await asyncio.to_thread(self._unpacked, archive, ref)
            except Refused as error:
                words = f"The package {ref.name} {ref.version} cannot be had: {error}"
                raise _Unusable("package_invalid", words) from error
            except PackageInvalid as error:
                raise _Unusable("package_invalid", str(error)) from error
        if manifest is None:
            raise _Unusable("agent_lost", f"{archive} does not stay as it was stored.")
        package = Package(self._packages / ref.sha256, manifest.kind, manifest.entry)
        self._verified[ref.sha256] = (now, package)
        return package

    def _unpacked(self, archive: Path, ref: PackageRef) -> "Manifest | None":
        """Blocking. None where the archive is not here, or no longer what it was."""
        from aifarm.packages import unpack

        if not intact(archive, ref.size, ref.sha256):
            return None
        return unpack(archive, self._packages / ref.sha256, ref.sha256)

    async def _resume(self, key: RankKey, ref: CheckpointRef) -> Path:
        """Local first: what this machine has is not fetched."""
        local = self._checkpoints.find(ref.sha256)
        if local is not None:
            if await asyncio.to_thread(intact, local, ref.size, ref.sha256):
                return local
            logger.warning("%s is damaged: fetched anew", local)
            local.unlink(missing_ok=True)
            words = f"The checkpoint of step {ref.step} is damaged on its disk: fetched anew."
            self._told(key, events.Remark("checkpoint_damaged", words))
        target = self._checkpoints.path(key.task_id, ref.step, ref.sha256)
        try:
            async with self._slots:
                path = f"/api/v2/tasks/{key.task_id}/checkpoints/{ref.id}/data"
                await self._rest.download(path, target, ref.size, ref.sha256)
        except Refused as error:
            words = f"The checkpoint of step {ref.step} cannot be had: {error}"
            damaged = error.status in NOT_WHOLE
            raise _Unusable("checkpoint_damaged" if damaged else "agent_lost", words) from error
        return target

    async def _restore(self, key: RankKey, task: AssignedTask) -> None:
        try:
            await self._outputs.restore(key, task)
        except Refused as error:
            words = f"What earlier attempts kept cannot be had: {error}"
            raise _Unusable("agent_lost", words) from error

    async def _upload(self, key: RankKey, checkpoint: Checkpoint) -> None:
        async with self._slots:
            self._waiting.get(key, {}).pop(checkpoint.path, None)
            try:
                file, size, sha256 = Path(checkpoint.path), checkpoint.size, checkpoint.sha256
                if not await asyncio.to_thread(intact, file, size, sha256):
                    raise OSError(f"{file} is no longer what was written.")
                upload_id = await self._rest.upload(key, file, size, sha256, "checkpoint")
            except (Refused, OSError) as error:
                self._told(key, events.CheckpointDropped(checkpoint, str(error)))
                return
        self._told(key, events.CheckpointStored(upload_id, checkpoint))

    def _spawn(self, key: RankKey, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        group = self._tasks.setdefault(key, set())
        group.add(task)
        task.add_done_callback(group.discard)
        return task


def _patience(farm: FarmAssignment) -> float:
    """Seconds that a rank waits for room in the cache. Two gangs may each hold on one client what
    the other waits for on another; so one gives way, by chance, and later with each attempt."""
    if farm.world_size == 1:
        return inf
    return GANG_WAITS * min(farm.attempt, LONGEST_WAIT) * random.uniform(1, 2)


class _Unusable(Exception):
    """The rank cannot start, for a cause in the farm's words."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause
