"""Following tasks over the live feed: their changes, and their logs. No polling."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Literal, Protocol, TypeVar

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

Rank = int | Literal["all"]


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
    http: AsyncHttp, info: TaskFull, rank: Rank, attempt: int | None, tail: int | None
) -> AsyncGenerator[str, None]:
    """All lines so far of `attempt`, or of the latest one; or the last `tail` of them. Of all
    ranks: of one after the other, each line after the number of its rank."""
    for reader in _readers(http, info, rank, attempt, tail):
        async for line in reader.news():
            yield line


async def follow_log(
    http: AsyncHttp,
    task: Followed,
    rank: Rank,
    attempt: int | None,
    tail: int | None,
    unfinished: Callable[[str], None] | None,
) -> AsyncGenerator[str, None]:
    """As `read_log`, then new lines until the task, or the `attempt` asked for, is over.
    `unfinished` is told what the line that has not ended shows, "" where there is none."""
    task_id = task.info.id
    readers = _readers(http, task.info, rank, attempt, tail)
    async with aclosing(http.live.listen([f"task:{task_id}"])) as messages:
        async for message in messages:
            for info in await _heard(http, message, [task_id]):
                task.info = info
            if isinstance(message, live.Happened | live.PointsAdded):
                continue
            latest, grown = task.info.attempt, None
            if isinstance(message, live.LinesAdded):
                latest, grown = max(latest, message.attempt), message.rank
            for reader in readers:
                if grown in (None, reader.rank):
                    async for line in reader.up_to(latest):
                        yield line
            if unfinished is not None and isinstance(message, live.LinesAdded):
                for reader in readers:
                    if reader.reads(message):
                        unfinished(reader.named(message.open))
            if task.info.status in FINAL or (attempt is not None and latest > attempt):
                return


def _readers(
    http: AsyncHttp, info: TaskFull, rank: Rank, attempt: int | None, tail: int | None
) -> "list[_LogReader]":
    ranks = range(info.n_clients) if rank == "all" else [rank]
    return [_LogReader(http, info.id, one, attempt, tail, rank == "all") for one in ranks]


class _LogReader:
    """Where in a rank's output a reader is. `attempt` None: the latest, not known yet.

    `named`: each line comes after the number of the rank."""

    def __init__(
        self,
        http: AsyncHttp,
        task_id: str,
        rank: int,
        attempt: int | None,
        tail: int | None,
        named: bool,
    ) -> None:
        self._http = http
        self._task_id = task_id
        self.rank = rank
        self._first: int | None = None
        self._tail = tail
        self._attempt = attempt
        self._moves = attempt is None
        self._before = f"[rank {rank}] " if named else ""

    def reads(self, grown: live.LinesAdded) -> bool:
        """Whether it is this log that has grown."""
        return (grown.rank, grown.attempt) == (self.rank, self._attempt)

    def named(self, line: str) -> str:
        return line and self._before + line

    async def up_to(self, latest: int) -> AsyncIterator[str]:
        """What came since the last call, of the attempts that followed as well."""
        async for line in self.news():
            yield line
        while self._moves and self._attempt is not None and self._attempt < latest:
            self._attempt, self._first, self._tail = self._attempt + 1, None, None
            async for line in self.news():
                yield line

    async def news(self) -> AsyncIterator[str]:
        """The attempt's lines that came since the last call."""
        more = True
        while more:
            call = calls.logs(
                self._task_id,
                attempt=self._attempt,
                rank=self.rank,
                first=self._first,
                tail=self._tail if self._first is None else None,
            )
            page = await self._http.send(call)
            for line in page.lines:
                yield self.named(line)
            self._attempt, self._first = page.attempt or None, page.next
            more = bool(page.lines) and page.next < page.total


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
