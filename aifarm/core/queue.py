"""The waiting tasks in order, and what each submitter uses: kept up to date entry by entry."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heappop, heappush, merge
from itertools import islice

from aifarm.core.placement import QueueKey, Usage, queue_key
from aifarm.core.room import TaskClass, class_of
from aifarm.core.task import Task


def usage_of(task: Task) -> Usage:
    """What a task runs on. A revocable attempt counts no more: its client may never return."""
    if task.final or task.revocable:
        return Usage()
    live = [rank for rank in task.ranks if not rank.ended]
    return Usage(sum(len(rank.gpus) for rank in live), task.needs.cpu_cores * len(live))


FAR = 1_000
"""Tasks ahead that are counted."""


class Queue:
    def __init__(self) -> None:
        self.classes: dict[TaskClass, dict[str, list[QueueKey]]] = {}
        self.usage: dict[str, Usage] = {}

    def move(self, before: Task | None, after: Task | None) -> None:
        """A task changed: it may have begun or ceased to wait, or to run."""
        if before is not None and before.waiting:
            queues = self.classes[class_of(before)]
            queue = queues[before.submitter]
            del queue[bisect_left(queue, queue_key(before))]
            if not queue:
                del queues[before.submitter]
            if not queues:
                del self.classes[class_of(before)]
        if after is not None and after.waiting:
            queues = self.classes.setdefault(class_of(after), {})
            insort(queues.setdefault(after.submitter, []), queue_key(after))
        for task, sign in ((before, -1), (after, 1)):
            if task is not None:
                self._account(task.submitter, usage_of(task), sign)

    def position(self, task: Task) -> int | None:
        """A task's place in the queue, 1 is next; None beyond FAR. One that does not wait yet is
        counted as if it did."""
        for place, key in enumerate(islice(self._in_turn(task), FAR), 1):
            if key.task_id == task.id:
                return place
        return None

    def _in_turn(self, extra: Task) -> Iterator[QueueKey]:
        """Waiting tasks, and `extra`, in the order of their turns if each got what it needs."""
        waiting: dict[str, list[Iterator[tuple[QueueKey, TaskClass]]]] = {}

        def add(submitter: str, queue: list[QueueKey], kind: TaskClass) -> None:
            keys = ((key, kind) for key in queue if key.task_id != extra.id)
            waiting.setdefault(submitter, []).append(keys)

        for kind, queues in self.classes.items():
            for submitter, queue in queues.items():
                add(submitter, queue, kind)
        own = iter([(queue_key(extra), class_of(extra))])
        waiting.setdefault(extra.submitter, []).append(own)
        lines = {submitter: merge(*keys) for submitter, keys in waiting.items()}
        turns: list[tuple[Usage, float, str, QueueKey, TaskClass, str]] = []

        def turn(submitter: str, used: Usage) -> None:
            head = next(lines[submitter], None)
            if head is not None:
                key, kind = head
                heappush(turns, (used, key.created_at, key.task_id, key, kind, submitter))

        for submitter in lines:
            turn(submitter, self.usage.get(submitter, Usage()))
        while turns:
            used, _, _, key, kind, submitter = heappop(turns)
            yield key
            ranks = kind.n_clients * kind.at_least
            gpus = ranks if kind.needs.gpu_memory else 0
            cores = kind.needs.cpu_cores * ranks
            turn(submitter, Usage(used.gpus + gpus, used.cpu_cores + cores))

    def _account(self, submitter: str, change: Usage, sign: int) -> None:
        used = self.usage.get(submitter, Usage())
        used = Usage(used.gpus + sign * change.gpus, used.cpu_cores + sign * change.cpu_cores)
        if used == Usage():
            self.usage.pop(submitter, None)
        else:
            self.usage[submitter] = used
