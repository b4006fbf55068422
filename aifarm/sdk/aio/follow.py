"""Following tasks over the live feed: their changes, and their logs. No polling."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

from aifarm.sdk import calls
from aifarm.sdk.aio.http import AsyncHttp
from aifarm.sdk.errors import NotFound, WaitTimeout
from aifarm.sdk.states import FINAL
from aifarm.wire import live
from aifarm.wire.rest import TaskFull


class Followed(Protocol):
    """What holds the latest that was heard of a task."""

    info: TaskFull


F = TypeVar("F", bound=Followed)


async def watch(
    http: AsyncHttp, tasks: Sequence[F], timeout: float | None = None
) -> AsyncGenerator[F, None]:
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
    shown: dict[str, TaskFull] = {}
    topics = [f"task:{task_id}" for task_id in going]
    try:
        async with aclosing(http.live.listen(topics, timeout=timeout)) as messages:
            async for message in messages:
                for info in await _heard(http, message, list(going)):
                    # Others' subscriptions show everything again on the common connection.
                    if info == shown.get(info.id):
                        continue
                    shown[info.id] = info
                    followed = going.pop(info.id) if info.status in FINAL else going[info.id]
                    followed.info = info
                    yield followed
                if not going:
                    return
    except WaitTimeout:
        raise WaitTimeout(
            f"Not over after {timeout:g} seconds, and going on: {', '.join(going)}."
        ) from None


async def read_log(
    http: AsyncHttp, task_id: str, rank: int, attempt: int | None, tail: int | None
) -> AsyncGenerator[str, None]:
    """All lines so far of `attempt`, or of the latest one; or the last `tail` of them."""
    async for line in _LogReader(http, task_id, rank, attempt, tail).news():
        yield line


async def follow_log(
    http: AsyncHttp, task: Followed, rank: int, attempt: int | None, tail: int | None
) -> AsyncGenerator[str, None]:
    """As `read_log`, then new lines until the task, or the `attempt` asked for, is over."""
    task_id = task.info.id
    reader = _LogReader(http, task_id, rank, attempt, tail)
    async with aclosing(http.live.listen([f"task:{task_id}"])) as messages:
        async for message in messages:
            for info in await _heard(http, message, [task_id]):
                task.info = info
            if isinstance(message, live.Happened | live.PointsAdded):
                continue
            latest = task.info.attempt
            if isinstance(message, live.LinesAdded):
                latest = max(latest, message.attempt)
            async for line in reader.news():
                yield line
            while attempt is None and reader.attempt is not None and reader.attempt < latest:
                reader.move(reader.attempt + 1)
                async for line in reader.news():
                    yield line
            if task.info.status in FINAL or (attempt is not None and latest > attempt):
                return


class _LogReader:
    """Where in a rank's output a reader is. `attempt` None: the latest, not known yet."""

    def __init__(
        self, http: AsyncHttp, task_id: str, rank: int, attempt: int | None, tail: int | None
    ) -> None:
        self._http = http
        self._task_id = task_id
        self._rank = rank
        self._first: int | None = None
        self._tail = tail
        self.attempt = attempt

    async def news(self) -> AsyncIterator[str]:
        """The attempt's lines that came since the last call."""
        more = True
        while more:
            call = calls.logs(
                self._task_id,
                attempt=self.attempt,
                rank=self._rank,
                first=self._first,
                tail=self._tail if self._first is None else None,
            )
            page = await self._http.send(call)
            for line in page.lines:
                yield line
            self.attempt, self._first = page.attempt or None, page.next
            more = bool(page.lines) and page.next < page.total

    def move(self, attempt: int) -> None:
        """On to the first line of another attempt."""
        self.attempt, self._first, self._tail = attempt, None, None


async def _heard(http: AsyncHttp, message: live.Message, awaited: list[str]) -> list[TaskFull]:
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
        for task_id in awaited:
            if task_id not in shown:
                shown[task_id] = await http.send(calls.get_task(task_id))
        return [shown[task_id] for task_id in awaited]
    return []
