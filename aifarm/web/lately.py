"""How much there was of something lately."""

import time
from collections import deque

from aifarm.app.ports import Clock

PARTS = 60
"""Of the time that is looked back on; the oldest one is forgotten whole."""


class Lately:
    """Counts what was added in the last `seconds`, to a sixtieth of them. Of one thread."""

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._part = seconds / PARTS
        self._clock = clock
        self._began = clock()
        self._counts: deque[tuple[int, int]] = deque()
        self._total = 0
        self.seconds = seconds

    def add(self, count: int = 1) -> None:
        part = int(self._clock() // self._part)
        self._total += count
        if self._counts and self._counts[-1][0] == part:
            count += self._counts.pop()[1]
        self._counts.append((part, count))
        self._forget(part)

    @property
    def count(self) -> int:
        self._forget(int(self._clock() // self._part))
        return self._total

    @property
    def per_second(self) -> float:
        """The mean, over the time since the beginning where that is shorter."""
        known = min(self.seconds, self._clock() - self._began)
        return self.count / max(known, self._part)

    def _forget(self, part: int) -> None:
        while self._counts and self._counts[0][0] <= part - PARTS:
            self._total -= self._counts.popleft()[1]
