"""What takes a while, done beside the kernel's own thread, which meanwhile runs cells."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")

QUIET = 0.4
"""Seconds without another question before the last one is asked."""

AGAIN, TIMES = 10.0, 30
"""Seconds until the same is asked again, since farms change; and how often, since a kernel cannot
know whether anybody still looks."""


def beside(work: Callable[[], R], then: Callable[[R], None]) -> None:
    """Calls `then` with the result of `work`, which runs on another thread; both at once where no
    loop runs, as in a script."""
    loop = _loop()
    if loop is None:
        then(work())
        return
    done = loop.run_in_executor(None, work)
    done.add_done_callback(lambda future: then(future.result()))


class Latest(Generic[A, R]):
    """Answers to what was asked last: one that another question overtook is never told.

    A question waits until there was none for `quiet` seconds, and is asked `times` times.
    """

    def __init__(
        self, ask: Callable[[A], R], tell: Callable[[R], None], quiet: float = 0, times: int = 1
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._quiet = quiet
        self._times = times
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    def about(self, question: A) -> None:
        self.forget()
        loop = _loop()
        if loop is None:
            self._tell(self._ask(question))
        else:
            asked = (loop, self._number, question, self._times)
            self._timer = loop.call_later(self._quiet, self._begin, *asked)

    def forget(self) -> None:
        """There is nothing to ask now, and what was asked no longer matters."""
        self._number += 1
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, loop: asyncio.AbstractEventLoop, number: int, question: A, times: int) -> None:
        def told(answer: R) -> None:
            if number != self._number:
                return
            self._tell(answer)
            if times > 1:
                again = (loop, number, question, times - 1)
                self._timer = loop.call_later(AGAIN, self._begin, *again)

        beside(lambda: self._ask(question), told)


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
