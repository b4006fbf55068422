"""How the asynchronous SDK waits, and what it does beside; `aifarm.sdk.runtime` is its twin."""

import asyncio
from asyncio import Condition, sleep
from collections.abc import Callable, Coroutine
from typing import ParamSpec, TypeVar

__all__ = ["Condition", "aside", "live_view", "sleep", "spawn", "woken"]

P = ParamSpec("P")
R = TypeVar("R")

_running: set[asyncio.Task[None]] = set()


async def aside(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The function's result, from a thread: files and hashing must not hold up the loop."""
    return await asyncio.to_thread(function, *args, **kwargs)


def spawn(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Runs `work` as a task of the loop."""
    task = asyncio.create_task(work(), name="aifarm-live")
    _running.add(task)  # the loop alone would let it be collected
    task.add_done_callback(_running.discard)


async def woken(condition: Condition, timeout: float | None) -> None:
    """Returns when the condition, which the caller holds, is notified, or after `timeout` s."""
    try:
        async with asyncio.timeout(timeout):
            await condition.wait()
    except TimeoutError:
        pass


def live_view(name: str, thing: object) -> None:
    """None: the views are made for the blocking half, whose calls they use; `repr` counts."""
