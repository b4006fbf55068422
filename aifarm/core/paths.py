"""Which paths of the clients' disks tasks need to read: kept up to date entry by entry."""

from collections import Counter
from collections.abc import Iterator

from aifarm.core.task import Task

AT_ONCE = 64
"""Paths in one question to a client."""


class Paths:
    def __init__(self) -> None:
        self._needed: Counter[str] = Counter()

    def move(self, before: Task | None, after: Task | None) -> None:
        """A task changed: it may have begun, or ended."""
        for task, sign in ((before, -1), (after, 1)):
            if task is None or task.final:
                continue
            for path in task.needs.reads:
                self._needed[path] += sign
                if not self._needed[path]:
                    del self._needed[path]

    def new(self, task: Task) -> tuple[str, ...]:
        """Those of a task that no other one needs."""
        return tuple(path for path in task.needs.reads if path not in self._needed)

    def needed(self, path: str) -> bool:
        return path in self._needed

    def all(self) -> Iterator[tuple[str, ...]]:
        known = tuple(self._needed)
        for first in range(0, len(known), AT_ONCE):
            yield known[first : first + AT_ONCE]
