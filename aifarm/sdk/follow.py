"""Following tasks over the live feed: their changes, and their logs. No polling."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Protocol, TypeVar

from aifarm.sdk import calls
from aifarm.sdk.errors import NotFound, WaitTimeout
from aifarm.sdk.http import Http
from aifarm.sdk.live import listen
from aifarm.wire import live
from aifarm.wire.rest import TaskFull

FINAL = frozenset({"completed", "failed", "stopped"})


class Followed(Protocol):
    """What holds the latest that was heard of a task."""

    info: TaskFull


F = TypeVar("F", bound=Followed)


def watch(http: Http, tasks: Sequence[F], timeout: float | None = None) -> Iterator[F]:
    """Each of `tasks` as it is now, then whenever it changes, until all are over.

    Raises WaitTimeout after `timeout` seconds, NotFound when one is deleted.
    """
    going = {}
    for task in tasks:
        if task.info.status in FINAL:
            yield task
        else:
            going[task.info.id] = task
    if not going:
        return
    topics = [f"task:{task_id}" for task_id in going]
    try:
        with closing(listen(http, topics, timeout=timeout)) as messages:
            for message in messages:
                for info in _heard(http, message, list(going)):
                    followed = going.pop(info.id) if info.status in FINAL else going[info.id]
                    followed.info = info
                    yield followed
                if not going:
                    return
    except WaitTimeout:
        raise WaitTimeout(
            f"Not over after {timeout:g} seconds, and going on: {', '.join(going)}."
        ) from None


def read_log(http: Http, task_id: str, rank: int, attempt: int | None) -> Iterator[str]:
    """All lines so far of `attempt`, or of the latest one."""
    return _LogReader(http, task_id, rank, attempt).news()


def follow_log(http: Http, task: Followed, rank: int, attempt: int | None) -> Iterator[str]:
    """All lines so far, then new ones until the task, or the `attempt` asked for, is over."""
    task_id = task.info.id
    reader = _LogReader(http, task_id, rank, attempt)
    with closing(listen(http, [f"task:{task_id}"])) as messages:
        for message in messages:
            for info in _heard(http, message, [task_id]):
                task.info = info
            if isinstance(message, live.Happened | live.PointsAdded):
                continue
            latest = task.info.attempt
            if isinstance(message, live.LinesAdded):
                latest = max(latest, message.attempt)
            yield from reader.news()
            while attempt is None and reader.attempt is not None and reader.attempt < latest:
                reader.move(reader.attempt + 1)
                yield from reader.news()
            if task.info.status in FINAL or (attempt is not None and latest > attempt):
                return


class _LogReader:
    """Where in a rank's output a reader is. `attempt` None: the latest, not known yet."""

    def __init__(self, http: Http, task_id: str, rank: int, attempt: int | None) -> None:
        self._http = http
        self._task_id = task_id
        self._rank = rank
        self._first = 0
        self.attempt = attempt

    def news(self) -> Iterator[str]:
        """The attempt's lines that came since the last call."""
        more = True
        while more:
            page = self._http.send(
                calls.logs(self._task_id, attempt=self.attempt, rank=self._rank, first=self._first)
            )
            yield from page.lines
            self.attempt, self._first = page.attempt or None, page.next
            more = bool(page.lines) and page.next < page.total

    def move(self, attempt: int) -> None:
        """On to the first line of another attempt."""
        self.attempt, self._first = attempt, 0


def _heard(http: Http, message: live.Message, awaited: list[str]) -> list[TaskFull]:
    """What a message says about tasks that are waited for. Raises NotFound for a deleted one.

    A snapshot may leave out what ended long ago, or before a restart of the server: that is
    asked for.
    """
    if isinstance(message, live.TaskDeleted) and message.id in awaited:
        raise NotFound(f"Task {message.id} was deleted.")
    if isinstance(message, live.TaskChanged):
        return [message.task] if message.task.id in awaited else []
    if isinstance(message, live.Snapshot):
        shown = {task.id: task for task in message.tasks}
        return [shown.get(task_id) or http.send(calls.get_task(task_id)) for task_id in awaited]
    return []
