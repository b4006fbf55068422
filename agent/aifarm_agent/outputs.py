"""The files that tasks keep, between the run folders on this machine and the server."""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import msgspec

from aifarm.wire.agent import OUTPUTS_AT_ONCE, AssignedTask, OutputFile
from aifarm.wire.globs import named
from aifarm.wire.rest import OutputFull
from aifarm_agent import collecting, events
from aifarm_agent.checkpoints import intact
from aifarm_agent.collecting import Found, Look, Seen
from aifarm_agent.events import RankKey, Report
from aifarm_agent.rest import Refused, Rest
from aifarm_agent.run import folder_of

logger = logging.getLogger(__name__)

AT_ONCE = 2
"""Runs whose files are sent at the same time."""

Told = Callable[[RankKey, Report], bool]
"""Whether what comes of the report is safe on disk."""


class _Task(msgspec.Struct):
    """What task.json says of outputs."""

    outputs: list[str] = []


class Outputs:
    """Collects what runs in `runs` keep, and brings it back; `kept` has what ended ones left."""

    def __init__(self, runs: Path, kept: Path, rest: Rest, told: Told) -> None:
        self._runs = runs
        self._kept = kept
        self._rest = rest
        self._told = told
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[RankKey, asyncio.Task[None]] = {}
        self._absent: dict[RankKey, set[str]] = {}
        self._said: dict[RankKey, set[str]] = {}

    def collect(self, key: RankKey, final: bool) -> None:
        """Answered by OutputsCollected. One at a time of each rank."""
        self._tasks[key] = asyncio.get_running_loop().create_task(self._collect(key, final))

    def forget(self, key: RankKey) -> None:
        """Ends what goes on for this rank, without an answer."""
        self._absent.pop(key, None)
        self._said.pop(key, None)
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------ to the server

    async def _collect(self, key: RankKey, final: bool) -> None:
        run = folder_of(self._runs, key)
        async with self._slots:
            told = await asyncio.to_thread(collecting.load, run)
            try:
                look = await asyncio.to_thread(_look, run, told, final)
            except Exception as error:  # whatever it is, the rank's end waits for an answer
                logger.warning("%s: the outputs cannot be collected: %s", key, error)
                look = Look([], [], [])
            files, seen, said = await self._store(key, look, told)
            await asyncio.to_thread(shutil.rmtree, run / "staging", ignore_errors=True)
            gone = look.gone if final else self._twice_absent(key, look.gone)
            told = {path: one for path, one in told.items() if path not in gone} | seen
            lines = self._new_words(key, look.said + said)
            if self._told(key, events.OutputsCollected(files, gone, final, lines)):
                # Here and now: what was told leads to the next collection, which builds on it.
                with contextlib.suppress(OSError):  # else it is told once more
                    collecting.save(run, told)

    async def _store(
        self, key: RankKey, look: Look, told: dict[str, Seen]
    ) -> tuple[list[OutputFile], dict[str, Seen], list[str]]:
        """What is stored now of that which was found; and what is to be said of the rest."""
        # In several messages, one could take away what a later one builds on.
        has = {one.sha256 for one in told.values()} if len(look.found) <= OUTPUTS_AT_ONCE else set()
        uploads: dict[str, str] = {}
        files, seen, said = [], {}, []
        for found in look.found:
            sha256 = found.seen.sha256
            try:
                if found.seen.size and sha256 not in has and sha256 not in uploads:
                    uploads[sha256] = await self._upload(key, found)
            except (Refused, OSError) as error:
                said.append(f"The output {found.path} is not kept: {error}")
                if isinstance(error, Refused) and error.status == 403:  # this attempt is over
                    break
                continue
            files.append(OutputFile(found.path, found.seen.size, sha256, uploads.get(sha256)))
            seen[found.path] = found.seen
        return files, seen, said

    async def _upload(self, key: RankKey, found: Found) -> str:
        size, sha256 = found.seen.size, found.seen.sha256
        return await self._rest.upload(key, found.source, size, sha256, "output")

    def _twice_absent(self, key: RankKey, gone: list[str]) -> list[str]:
        """A script may remove a file a moment before it writes it anew."""
        before = self._absent.get(key, set())
        self._absent[key] = set(gone)
        return [path for path in gone if path in before]

    def _new_words(self, key: RankKey, said: list[str]) -> list[str]:
        known = self._said.setdefault(key, set())
        new = [words for words in said if words not in known]
        known.update(new)
        return new

    # ------------------------------------------------------------ from the server

    async def restore(self, key: RankKey, task: AssignedTask) -> None:
        """Brings what earlier attempts kept, or the task that this one goes on from, to
        RUN/outputs. Raises Refused, OSError."""
        globs = task.farm.program.outputs if task.farm else []
        if not globs:
            return
        run = folder_of(self._runs, key)
        told = {}
        for output in await self._rest.outputs(task.id):
            if named(output.path, globs):
                target = run / "outputs" / output.path
                try:
                    await self._bring(key, output, target)
                except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
                    logger.warning("%s: %s is both file and folder: %s", key, output.path, error)
                    continue
                changed = target.stat().st_mtime_ns
                told[output.path] = Seen(output.size, output.sha256, changed)
        if told:
            await asyncio.to_thread(collecting.save, run, told)

    async def _bring(self, key: RankKey, output: OutputFull, target: Path) -> None:
        """Local first: what this machine has is not fetched."""
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ended = sorted(self._kept.glob(f"{key.task_id}.*.*"), reverse=True)
        ending = [run / "work" for run in self._runs.glob(f"{key.task_id}.*.*")]
        for folder in (*ended, *ending):
            if await asyncio.to_thread(_taken, folder / output.path, output, target):
                return
        path = f"/api/v2/tasks/{key.task_id}/outputs/{quote(output.path)}"
        async with self._slots:
            await self._rest.download(path, target, output.size, output.sha256)


def _look(run: Path, told: dict[str, Seen], final: bool) -> Look:
    task = msgspec.json.decode((run / "task.json").read_bytes(), type=_Task)
    return collecting.look(run, task.outputs, told, final)


def _taken(file: Path, output: OutputFull, target: Path) -> bool:
    """Whether `file` has the output's bytes, and `target` has them now too."""
    try:
        if file.stat().st_size != output.size:
            return False
        shutil.copyfile(file, target)
    except OSError:
        return False
    return intact(target, output.size, output.sha256)
