# Written by `make sdk` from aio/task.py; changes here are lost.
"""A task as a researcher holds it."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal
from uuid import uuid4

from msgspec import UNSET, UnsetType

from aifarm.sdk import calls
from aifarm.sdk.call import exactly, from_body, valid
from aifarm.sdk.checkpoint import Checkpoint
from aifarm.sdk.differences import Difference, differences
from aifarm.sdk.errors import NotFound, TaskFailed
from aifarm.sdk.events import all_events
from aifarm.sdk.follow import follow_log, read_log, watch
from aifarm.sdk.frames import History
from aifarm.sdk.http import Http
from aifarm.sdk.output import Output
from aifarm.sdk.progress import shown
from aifarm.sdk.runtime import aside, live_view
from aifarm.sdk.states import FINAL
from aifarm.wire import requests, rest
from aifarm.wire.types import JSON, Metrics


class Task:
    """One training task of the farm.

    What changes while it runs (status, progress, …) is asked of the farm each time until the
    task is over; `info` holds what was last heard, and `refresh()` asks once for all fields.
    """

    def __init__(self, http: Http, info: rest.TaskFull) -> None:
        self._http = http
        self.info = info

    def __repr__(self) -> str:
        info = self.info
        return f"<Task {info.id} {info.name!r}: {info.status}, {info.progress:.0f} %>"

    def _repr_mimebundle_(self, **_: object) -> Any:
        return live_view("TaskMonitor", self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # ------------------------------------------------------------ what it is

    def refresh(self) -> rest.TaskFull:
        """The task as it is now, all fields of one moment. Raises NotFound once deleted."""
        if self.info.status not in FINAL:
            self.info = self._http.send(calls.get_task(self.id))
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
    def status(self) -> str:
        """pending, assigned, running, paused, unreachable; completed, failed, stopped."""
        return (self.refresh()).status

    @property
    def done(self) -> bool:
        """Whether the status is final."""
        return self.status in FINAL

    @property
    def progress(self) -> float:
        """Percent, 0 to 100."""
        return (self.refresh()).progress

    @property
    def metrics_latest(self) -> Metrics:
        """The latest value of each metric; None where it was no finite number."""
        return (self.refresh()).metrics

    @property
    def clients(self) -> list[str]:
        """The ids of the clients of the current attempt, by rank."""
        return (self.refresh()).clients

    @property
    def attempt(self) -> int:
        """The number of the current attempt; 0 before the first."""
        return (self.refresh()).attempt

    # ------------------------------------------------------------ waiting

    def wait(self, timeout: float | None = None, *, progress: bool = True) -> "Task":
        """Returns the task once it is over; waits at most `timeout` seconds.

        Meanwhile a terminal and a notebook show how far it is, unless `progress` is False. An
        interrupt ends the wait, and leaves the task alone. A stopped task returns too. Raises
        TaskFailed with the cause, WaitTimeout (a TimeoutError), NotFound when it is deleted
        meanwhile. A server that is away meanwhile is waited for.
        """
        with shown(self.info, progress) as show:
            for _ in watch(self._http, [self], timeout):
                show(self.info)
        if self.info.status == "failed":
            raise TaskFailed(self, self.info.cause or "unknown", self.info.message or "no reason")
        return self

    def watch(self) -> Generator[rest.TaskFull, None, None]:
        """The task now, and again at each change, until it is over.

        However many tasks of one farm are watched, they share one connection.
        """
        with closing(watch(self._http, [self])) as changes:
            for task in changes:
                yield task.info

    # ------------------------------------------------------------ steering

    def pause(self, reason: str | None = None) -> rest.StatusFull:
        """Asks the training loop to hold; the answer says what is desired and what observed.

        Raises Conflict when the task is over.
        """
        return self._set("paused", reason)

    def resume(self, reason: str | None = None) -> rest.StatusFull:
        """Asks a paused task to go on. Raises Conflict when the task is over."""
        return self._set("running", reason)

    def stop(self, reason: str | None = None) -> rest.StatusFull:
        """Asks the task to write a checkpoint and end. Raises Conflict when it is over."""
        return self._set("stopped", reason)

    def _set(self, status: str, reason: str | None) -> rest.StatusFull:
        body = valid(requests.UpdateStatus, status=status, reason=reason)
        return self._http.send(calls.set_status(self.id, body))

    def retry(self, from_checkpoint: str | None = "latest") -> "Task":
        """A new task like this one, which is its `parent`, once this one is over.

        It goes on from the "latest" checkpoint, the "best", the one with this id, from what this
        one began with ("origin"), or with None from the start. With the latest checkpoint, or where
        there is none, it begins with the files that this one keeps, too. Raises Conflict while this
        one is not over.
        """
        body = exactly(requests.RetryTask, from_checkpoint=from_checkpoint)
        made = self._http.send(calls.retry_task(self.id, body, str(uuid4())))
        return Task(self._http, made)

    def reproduce(self) -> "Task":
        """The same task once more: package, config, seed, requirements, arguments, and what it
        began with. Raises Conflict while this one is not over."""
        return self.retry("origin")

    def differences(self, other: "Task") -> list[Difference]:
        """What this task and `other` do not have in common: what was asked for, the provenance of
        their last attempts, and their latest metrics; [] where all is the same."""
        mine, others = self.attempts(), other.attempts()
        return differences(self.refresh(), other.refresh(), mine, others)

    def delete(self) -> None:
        """Stops the task if it runs, and puts it into the trash, from where it can be restored
        for 7 days."""
        self._http.send(calls.delete_task(self.id))

    def restore(self) -> None:
        """Takes the task back out of the trash. Raises NotFound where it is not there."""
        self.info = self._http.send(calls.restore_task(self.id))

    # ------------------------------------------------------------ finding it again

    def update(
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
        self.info = self._http.send(calls.edit_task(self.id, body))
        return self.info

    def tag(self, *tags: str) -> list[str]:
        """Adds tags, and returns all that the task has then."""
        return self._tags("tag", tags)

    def untag(self, *tags: str) -> list[str]:
        """Takes tags away, and returns those that stay."""
        return self._tags("untag", tags)

    def _tags(self, action: str, tags: Iterable[str]) -> list[str]:
        """Added and taken away by the farm itself, so that two people do not undo each other."""
        body = valid(requests.BulkTasks, action=action, ids=[self.id], tags=list(tags))
        (result,) = (self._http.send(calls.bulk(body))).results
        if result.error is not None:
            raise from_body(result.error)
        self.info = result.task or self.info
        return self.info.tags

    # ------------------------------------------------------------ what it left

    def metrics(
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
        return History.of(self._http.send(call))

    def summaries(self) -> list[rest.MetricSummary]:
        """The last, lowest, highest and best value of each metric, and at which step it is."""
        return (self._http.send(calls.metrics(self.id, points=1))).summaries

    def metrics_csv(self, file: BinaryIO, names: Iterable[str] = ()) -> None:
        """Writes every point to `file` as CSV: name, step, time (seconds since 1970), value."""
        wanted = [names] if isinstance(names, str) else list(names)
        with self._http.stream(calls.metrics_csv(self.id, wanted)) as (_, chunks):
            for chunk in chunks:
                aside(file.write, chunk)

    def logs(
        self,
        rank: int | Literal["all"] = 0,
        *,
        attempt: int | None = None,
        tail: int | None = None,
        follow: bool = False,
        unfinished: Callable[[str], None] | None = None,
    ) -> Iterator[str]:
        """Lines of one rank's output, or the last `tail` of them: of the latest attempt, or of
        number `attempt`. Of "all" ranks, each line comes after the number of its rank.

        With `follow`, new lines as they come until the task is over; without `attempt` that
        includes the attempts still to come. `unfinished` is told meanwhile what the line that has
        not ended shows so far, such as a progress bar, about every second; "" once there is none.
        """
        if follow:
            return follow_log(self._http, self, rank, attempt, tail, unfinished)
        return read_log(self._http, self.info, rank, attempt, tail)

    def events(self) -> list[rest.EventFull]:
        """The task's story so far, oldest first."""
        return all_events(self._http, task_id=self.id)

    def attempts(self) -> list[rest.AttemptFull]:
        """Each try so far: where, when, how it ended, and the provenance of its workers."""
        return (self._http.send(calls.attempts(self.id))).attempts

    def why(self) -> rest.Why:
        """Why the task waits: one sentence, what would let it start, its place in the queue, and
        for each client the first thing it misses."""
        return self._http.send(calls.why(self.id))

    def checkpoints(self) -> list[Checkpoint]:
        """Every stored checkpoint, newest first."""
        found = (self._http.send(calls.checkpoints(self.id))).checkpoints
        return [Checkpoint(self._http, self.id, info) for info in found]

    def checkpoint(self, which: str = "latest") -> Checkpoint:
        """The "latest" checkpoint, the "best" one, or the one of an id. Raises NotFound where there
        is none."""
        found = self.checkpoints()
        if not found:
            raise NotFound(f"Task {self.id} has no checkpoint yet: the first follows an epoch.")
        for one in found:
            if which in ("latest", one.id) or (which == "best" and one.best):
                return one
        if which == "best":
            raise NotFound(f"Task {self.id} has no best checkpoint: its config names no metric.")
        raise NotFound(f"Task {self.id} has no checkpoint {which}: checkpoints() lists them.")

    def outputs(self) -> list[Output]:
        """The files that the task keeps, by path: what its `outputs` name, and once it has
        completed its final weights as `weights.safetensors`."""
        found = (self._http.send(calls.outputs(self.id))).outputs
        return [Output(self._http, self.id, info) for info in found]

    def download_outputs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes every output to its own path under `folder`; returns where they are. What is
        there already is not fetched again."""
        return [output.download_under(folder) for output in self.outputs()]

    def outputs_zip(self, file: BinaryIO) -> None:
        """Writes all outputs to `file`, as one zip archive."""
        with self._http.stream(calls.outputs_zip(self.id)) as (_, chunks):
            for chunk in chunks:
                aside(file.write, chunk)

    def state_dict(self, map_location: Any = "cpu") -> dict[str, Any]:
        """The model's weights from the latest checkpoint, as `checkpoint().state_dict()`."""
        return (self.checkpoint()).state_dict(map_location)
