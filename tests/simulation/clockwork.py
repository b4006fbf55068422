"""A virtual clock: things happen in the order of their times, and nothing waits."""

import heapq
import itertools
from collections.abc import Callable


class Clockwork:
    """`now` in seconds from the start of the simulation."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, delay: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + delay, next(self._order), call))

    def every(self, interval: float, call: Callable[[], None]) -> None:
        def again() -> None:
            call()
            self.after(interval, again)

        self.after(interval, again)

    def run(self, until: float) -> None:
        """Lets everything happen that is due before `until`."""
        while self._due and self._due[0][0] <= until:
            self.now, _, call = heapq.heappop(self._due)
            call()
        self.now = until
