"""The waiting tasks in order, and what each submitter uses: kept up to date entry by entry."""

from bisect import bisect_left, insort

from aifarm.core.placement import QueueKey, TaskClass, Usage, class_of, queue_key
from aifarm.core.task import Task


def usage_of(task: Task) -> Usage:
    """What a task runs on. A revocable attempt counts no more: its client may never return."""
    if task.final or task.revocable:
        return Usage()
    live = [rank for rank in task.ranks if not rank.ended]
    return Usage(sum(len(rank.gpus) for rank in live), task.needs.cpu_cores * len(live))


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

    def _account(self, submitter: str, change: Usage, sign: int) -> None:
        used = self.usage.get(submitter, Usage())
        used = Usage(used.gpus + sign * change.gpus, used.cpu_cores + sign * change.cpu_cores)
        if used == Usage():
            self.usage.pop(submitter, None)
        else:
            self.usage[submitter] = used
