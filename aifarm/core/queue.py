"""The waiting tasks in order, and what each submitter uses: kept up to date entry by entry."""

from bisect import bisect_left, insort
from typing import Protocol

from aifarm.core.placement import QueueKey, TaskClass, Usage, class_of, queue_key
from aifarm.core.task import Task


class Held(Protocol):
    """As `farm.Hold`: what one rank of a submitter's task holds."""

    @property
    def submitter(self) -> str: ...
    @property
    def gpus(self) -> tuple[int, ...]: ...
    @property
    def cpu_cores(self) -> int: ...


class Queue:
    def __init__(self) -> None:
        self.classes: dict[TaskClass, dict[str, list[QueueKey]]] = {}
        self.usage: dict[str, Usage] = {}

    def move(self, before: Task | None, after: Task | None) -> None:
        """A task changed: it may have begun or ceased to wait."""
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

    def account(self, before: Held | None, after: Held | None) -> None:
        """A hold began, ended or changed."""
        for hold, sign in ((before, -1), (after, 1)):
            if hold is None:
                continue
            used = self.usage.get(hold.submitter, Usage())
            used = Usage(used.gpus + sign * len(hold.gpus), used.cpu_cores + sign * hold.cpu_cores)
            if used == Usage():
                self.usage.pop(hold.submitter, None)
            else:
                self.usage[hold.submitter] = used
