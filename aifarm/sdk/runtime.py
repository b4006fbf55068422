"""How the blocking SDK waits, and what it does beside; `aifarm.sdk.aio.runtime` is its twin."""

from collections.abc import Callable
from importlib import import_module
from threading import Condition, Thread
from time import sleep
from typing import Any, ParamSpec, TypeVar

from aifarm.sdk.plain import shown

__all__ = ["Condition", "aside", "live_view", "sleep", "spawn", "woken"]

P = ParamSpec("P")
R = TypeVar("R")


def aside(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The function's result: what blocks may block here."""
    return function(*args, **kwargs)


def spawn(work: Callable[[], None]) -> None:
    """Runs `work` on a thread of its own, which does not keep the program alive."""
    Thread(target=work, name="aifarm-live", daemon=True).start()


def woken(condition: Condition, timeout: float | None) -> None:
    """Returns when the condition, which the caller holds, is notified, or after `timeout` s."""
    condition.wait(timeout)


def live_view(name: str, thing: object) -> Any:
    """What a notebook shows for `thing`: a view of the Jupyter extension, by its name; lines of
    text where it, or what it draws with, is not installed, or nothing else can be shown."""
    try:
        display = import_module("aifarm_jupyter.display")  # it stands on us, not we on it
        return display.bundle(name, thing)
    except ImportError:
        return {"text/plain": shown(name, thing)}
