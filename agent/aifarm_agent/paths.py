"""Which paths of this machine can be read: looked at beside the event loop, again and again."""

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable

AGAIN = 30.0
"""Seconds between two looks at a path."""
GATHER = 0.05
"""Seconds for which answers are gathered into one message."""
PATIENCE = 1.0
"""Seconds after which another thread takes over what waits behind a path that hangs."""


class Paths:
    """`tell` is called with what has become known, or has changed.

    A path on a network file system that hangs holds one thread until it answers; nothing is told
    of it, and it keeps the others waiting for a moment only.
    """

    def __init__(self, tell: Callable[[dict[str, bool]], None]) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._told: dict[str, bool | None] = {}
        self._looking: set[str] = set()
        self._waiting: deque[str] = deque()
        self._news: dict[str, bool] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, paths: Iterable[str]) -> None:
        """Answers for these anew, and for as long as they are watched."""
        for path in paths:
            self._told[path] = None
        self._look_at(paths)
        if self._timer is None:
            self._timer = self._loop.call_later(AGAIN, self._again)

    def clear(self) -> None:
        """Watches none any more."""
        self._told.clear()
        self._news.clear()
        self._looking.difference_update(self._waiting)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _again(self) -> None:
        self._timer = self._loop.call_later(AGAIN, self._again)
        self._look_at(list(self._told))

    def _look_at(self, paths: Iterable[str]) -> None:
        new = [path for path in paths if path not in self._looking]
        self._looking.update(new)
        self._waiting.extend(new)
        self._help()

    def _help(self) -> None:
        """Starts a thread for what waits, and another one later if that does not get on."""
        if self._waiting:
            threading.Thread(target=self._look, daemon=True).start()
            self._loop.call_later(PATIENCE, self._help)

    def _look(self) -> None:
        while self._waiting:
            with contextlib.suppress(IndexError, RuntimeError):  # another's; the agent has ended
                path = self._waiting.popleft()
                self._loop.call_soon_threadsafe(self._found, path, readable(path))

    def _found(self, path: str, found: bool) -> None:
        self._looking.discard(path)
        if path not in self._told or self._told[path] is found:
            return
        self._told[path] = found
        if not self._news:
            self._loop.call_later(GATHER, self._send)
        self._news[path] = found

    def _send(self) -> None:
        news, self._news = self._news, {}
        if news:
            self._tell(news)


def readable(path: str) -> bool:
    """Whether a file can be read, or a folder listed and entered."""
    return os.access(path, os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK)
