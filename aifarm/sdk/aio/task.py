"""A task as a researcher holds it."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal
from uuid import uuid4

from msgspec import UNSET, UnsetType

from aifarm.sdk import calls
from aifarm.sdk.aio.checkpoint import AsyncCheckpoint
from aifarm.sdk.aio.events import all_events
from aifarm.sdk.aio.follow import follow_log, read_log, watch
from aifarm.sdk.aio.http import AsyncHttp
from aifarm.sdk.aio.output import AsyncOutput
from aifarm.sdk.aio.runtime import aside, live_view
from aifarm.sdk.call import exactly, from_body, valid
from aifarm.sdk.differences import Difference, differences
from aifarm.sdk.errors import NotFound, TaskFailed
from aifarm.sdk.frames import History
from aifarm.sdk.progress import shown
from aifarm.sdk.states import FINAL
from aifarm.wire import requests, rest
from aifarm.wire.types import JSON, Metrics


class AsyncTask:
    """One training task of the farm.

    What changes while it runs (status, progress, …) is asked of the farm each time until the
    task is over; `info` holds what was last heard, and `refresh()` asks once for all fields.
    """

    def __init__(self, http: AsyncHttp, info: rest.TaskFull) -> None:
        self._http = http
        self.info = info

    def __repr__(self) -> str:
        info = self.info
        return f"<Task {info.id} {info.name!r}: {info.status}, {info.progress:.0f} %>"

    def _repr_mimebundle_(self, **_: object) -> Any:
        return live_view("TaskMonitor", self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncTask) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # ------------------------------------------------------------ what it is

    async def refresh(self) -> rest.TaskFull:
        """The task as it is now, all fields of one moment. Raises NotFound once deleted."""
        if self.info.status not in FINAL:
            self.info = await self._http.send(calls.get_task(self.id))
        return self.info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def name(self) -> str:
        """The package's name."""
        return self.info.name

    @property
    def config(self) -> dict[str, JSON]:
        """What the training code sees."""
        return self.info.config

    @property
    def submitter(self) -> str:
        return self.info.submitter

    @property
    def parent(self) -> str | None:
        """The id of the task that this one repeats or goes on from."""
        return self.info.parent

    @property
    def created_at(self) -> datetime:
        return self.info.created_at

    @property
    async def status(self) -> str:
        """pending, assigned, running, paused, unreachable; completed, failed, stopped."""
        return (await self.refresh()).status

    @property
    async def done(self) -> bool:
        """Whether the status is final."""
        return await self.status in FINAL

    @property
    async def progress(self) -> float:
        """Percent, 0 to 100."""
        return (await self.refresh()).progress

    @property
    async def metrics_latest(self) -> Metrics:
        """The latest value of each metric; None where it was no finite number."""
        return (await self.refresh()).metrics

    @property
    async def clients(self) -> list[str]:
        """The ids of the clients of the current attempt, by rank."""
        return (await self.refresh()).clients

    @property
    async def attempt(self) -> int:
        """The number of the current attempt; 0 before the first."""
        return (await self.refresh()).attempt

    # ------------------------------------------------------------ waiting

    async def wait(self, timeout: float | None = None, *, progress: bool = True) -> "AsyncTask":
        """Returns the task once it is over; waits at most `timeout` seconds.

        Meanwhile a terminal and a notebook show how far it is, unless `progress` is False. An
        interrupt ends the wait, and leaves the task alone. A stopped task returns too. Raises
        TaskFailed with the cause, WaitTimeout (a TimeoutError), NotFound when it is deleted
        meanwhile. A server that is away meanwhile is waited for.
        """
        with shown(self.info, progress) as show:
            async for _ in watch(self._http, [self], timeout):
                show(self.info)
        if self.info.status == "failed":
            raise TaskFailed(self, self.info.cause or "unknown", self.info.message or "no reason")
        return self

    async def watch(self) -> AsyncGenerator[rest.TaskFull, None]:
        """The task now, and again at each change, until it is over.

        However many tasks of one farm are watched, they share one connection.
        """
        async with aclosing(watch(self._http, [self])) as changes:
            async for task in changes:
                yield task.info

    # ------------------------------------------------------------ steering

    async def pause(self, reason: str | None = None) -> rest.StatusFull:
        """Asks the training loop to hold; the answer says what is desired and what observed.

        Raises Conflict when the task is over.
        """
        return await self._set("paused", reason)

    async def resume(self, reason: str | None = None) -> rest.StatusFull:
        """Asks a paused task to go on. Raises Conflict when the task is over."""
        return await self._set("running", reason)

    async def stop(self, reason: str | None = None) -> rest.StatusFull:
        """Asks the task to write a checkpoint and end. Raises Conflict when it is over."""
        return await self._set("stopped", reason)

    async def _set(self, status: str, reason: str | None) -> rest.StatusFull:
        body = valid(requests.UpdateStatus, status=status, reason=reason)
        return await self._http.send(calls.set_status(self.id, body))

    async def retry(self, from_checkpoint: str | None = "latest") -> "AsyncTask":
        """A new task like this one, which is its `parent`, once this one is over.

        It goes on from the "latest" checkpoint, the "best", the one with this id, from what this
        one began with ("origin"), or with None from the start. With the latest checkpoint, or where
        there is none, it begins with the files that this one keeps, too. Raises Conflict while this
        one is not over.
        """
        body = exactly(requests.RetryTask, from_checkpoint=from_checkpoint)
        made = await self._http.send(calls.retry_task(self.id, body, str(uuid4())))
        return AsyncTask(self._http, made)

    async def reproduce(self) -> "AsyncTask":
        """The same task once more: package, config, seed, requirements, arguments, and what it
        began with. Raises Conflict while this one is not over."""
        return await self.retry("origin")

    async def differences(self, other: "AsyncTask") -> list[Difference]:
        """What this task and `other` do not have in common: what was asked for, the provenance of
        their last attempts, and their latest metrics; [] where all is the same."""
        mine, others = await self.attempts(), await other.attempts()
        return differences(await self.refresh(), await other.refresh(), mine, others)

    async def delete(self) -> None:
        """Stops the task if it runs, and puts it into the trash, from where it can be restored
        for 7 days."""
        await self._http.send(calls.delete_task(self.id))

    async def restore(self) -> None:
        """Takes the task back out of the trash. Raises NotFound where it is not there."""
        self.info = await self._http.send(calls.restore_task(self.id))

    # ------------------------------------------------------------ finding it again

    async def update(
        self,
        *,
        title: str | UnsetType | None = UNSET,
        project: str | UnsetType | None = UNSET,
        tags: Iterable[str] | UnsetType = UNSET,
        notes: str | UnsetType | None = UNSET,
    ) -> rest.TaskFull:
        """Changes what is given, also after the end: None removes, `tags` replaces all of them.

        Raises InvalidRequest for a value the farm does not take, Forbidden for other people's.
        """
        given = tags if isinstance(tags, UnsetType) else list(tags)
        body = exactly(requests.EditTask, title=title, project=project, tags=given, notes=notes)
        self.info = await self._http.send(calls.edit_task(self.id, body))
        return self.info

    async def tag(self, *tags: str) -> list[str]:
        """Adds tags, and returns all that the task has then."""
        return await self._tags("tag", tags)

    async def untag(self, *tags: str) -> list[str]:
        """Takes tags away, and returns those that stay."""
        return await self._tags("untag", tags)

    async def _tags(self, action: str, tags: Iterable[str]) -> list[str]:
        """Added and taken away by the farm itself, so that two people do not undo each other."""
        body = valid(requests.BulkTasks, action=action, ids=[self.id], tags=list(tags))
        (result,) = (await self._http.send(calls.bulk(body))).results
        if result.error is not None:
            raise from_body(result.error)
        self.info = result.task or self.info
        return self.info.tags

    # ------------------------------------------------------------ what it left

    async def metrics(
        self,
        names: Iterable[str] = (),
        points: int | None = 1000,
        *,
        steps: tuple[int, int | None] = (0, None),
    ) -> History:
        """Each metric's history as columns of equal length: step, time, value, min, max.

        `time` in seconds since the epoch. About `points` rows a metric (None: every one); thinned,
        a row stands for a bucket with its last value, its min and its max. `steps` (first, last):
        that part alone, as much finer. `.to_dataframe()` makes one table of them.
        """
        wanted = [names] if isinstance(names, str) else names
        call = calls.metrics(self.id, names=wanted, points=points, steps=steps)
        return History.of(await self._http.send(call))

    async def summaries(self) -> list[rest.MetricSummary]:
        """The last, lowest, highest and best value of each metric, and at which step it is."""
        return (await self._http.send(calls.metrics(self.id, points=1))).summaries

    async def metrics_csv(self, file: BinaryIO, names: Iterable[str] = ()) -> None:
        """Writes every point to `file` as CSV: name, step, time (seconds since 1970), value."""
        wanted = [names] if isinstance(names, str) else list(names)
        async with self._http.stream(calls.metrics_csv(self.id, wanted)) as (_, chunks):
            async for chunk in chunks:
                await aside(file.write, chunk)

    def logs(
        self,
        rank: int | Literal["all"] = 0,
        *,
        attempt: int | None = None,
        tail: int | None = None,
        follow: bool = False,
        unfinished: Callable[[str], None] | None = None,
    ) -> AsyncIterator[str]:
        """Lines of one rank's output, or the last `tail` of them: of the latest attempt, or of
        number `attempt`. Of "all" ranks, each line comes after the number of its rank.

        With `follow`, new lines as they come until the task is over; without `attempt` that
        includes the attempts still to come. `unfinished` is told meanwhile what the line that has
        not ended shows so far, such as a progress bar, about every second; "" once there is none.
        """
        if follow:
            return follow_log(self._http, self, rank, attempt, tail, unfinished)
        return read_log(self._http, self.info, rank, attempt, tail)

    async def events(self) -> list[rest.EventFull]:
        """The task's story so far, oldest first."""
        return await all_events(self._http, task_id=self.id)

    async def attempts(self) -> list[rest.AttemptFull]:
        """Each try so far: where, when, how it ended, and the provenance of its workers."""
        return (await self._http.send(calls.attempts(self.id))).attempts

    async def why(self) -> rest.Why:
        """Why the task waits: one sentence, what would let it start, its place in the queue, and
        for each client the first thing it misses."""
        return await self._http.send(calls.why(self.id))

    async def checkpoints(self) -> list[AsyncCheckpoint]:
        """Every stored checkpoint, newest first."""
        found = (await self._http.send(calls.checkpoints(self.id))).checkpoints
        return [AsyncCheckpoint(self._http, self.id, info) for info in found]

    async def checkpoint(self, which: str = "latest") -> AsyncCheckpoint:
        """The "latest" checkpoint, the "best" one, or the one of an id. Raises NotFound where there
        is none."""
        found = await self.checkpoints()
        if not found:
            raise NotFound(f"Task {self.id} has no checkpoint yet: the first follows an epoch.")
        for one in found:
            if which in ("latest", one.id) or (which == "best" and one.best):
                return one
        if which == "best":
            raise NotFound(f"Task {self.id} has no best checkpoint: its config names no metric.")
        raise NotFound(f"Task {self.id} has no checkpoint {which}: checkpoints() lists them.")

    async def outputs(self) -> list[AsyncOutput]:
        """The files that the task keeps, by path: what its `outputs` name, and once it has
        completed its final weights as `weights.safetensors`."""
        found = (await self._http.send(calls.outputs(self.id))).outputs
        return [AsyncOutput(self._http, self.id, info) for info in found]

    async def download_outputs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes every output to its own path under `folder`; returns where they are. What is
        there already is not fetched again."""
        return [await output.download_under(folder) for output in await self.outputs()]

    async def outputs_zip(self, file: BinaryIO) -> None:
        """Writes all outputs to `file`, as one zip archive."""
        async with self._http.stream(calls.outputs_zip(self.id)) as (_, chunks):
            async for chunk in chunks:
                await aside(file.write, chunk)

    async def state_dict(self, map_location: Any = "cpu") -> dict[str, Any]:
        """The model's weights from the latest checkpoint, as `checkpoint().state_dict()`."""
        return await (await self.checkpoint()).state_dict(map_location)
