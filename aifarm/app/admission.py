"""How many agents are welcomed at once: a crowd that comes back queues here, not in the writer."""

from collections import deque
from collections.abc import Callable

AT_ONCE = 64
"""Greetings that are being written; what else there is to write waits for no more of them."""


class Gate:
    """Starts what enters, in order, `limit` at a time; each calls `leave` when it is over."""

    def __init__(self, limit: int = AT_ONCE) -> None:
        self._limit = limit
        self._inside = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, start: Callable[[], None]) -> None:
        """`start` runs now, or when its turn comes."""
        if self._inside < self._limit:
            self._inside += 1
            start()
        else:
            self._waiting.append(start)

    def leave(self) -> None:
        self._inside -= 1
        if self._waiting:
            self.enter(self._waiting.popleft())
