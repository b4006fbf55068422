"""How far a task is, shown to who waits for it: on a terminal, or under a notebook's cell."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import escape
from importlib import import_module
from typing import Any

from aifarm.sdk.states import FINAL
from aifarm.wire.rest import TaskFull

Show = Callable[[TaskFull], None]

SHOWN = ("loss", "accuracy")
EVERY = 0.2
"""Seconds between two pictures in a notebook, at least."""


@contextmanager
def shown(task: TaskFull, wanted: bool = True) -> Iterator[Show]:
    """What shows the task as it is told to; nothing where it is over already, where nobody looks,
    or where it is not `wanted`."""
    if not wanted or task.status in FINAL:
        yield _nothing
        return
    kernel = _in_notebook()
    if not kernel and not sys.stderr.isatty():
        yield _nothing
        return
    try:
        with _notebook() if kernel else _terminal() as show:
            yield show
    except KeyboardInterrupt:
        sys.stderr.write(f"Task {task.id[:8]} goes on; stop() would end it.\n")
        raise


def _nothing(task: TaskFull) -> None:
    pass


@contextmanager
def _terminal() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    told = TextColumn("{task.description}", markup=False)
    percent = TextColumn("{task.percentage:3.0f} %")
    with Progress(told, BarColumn(), percent, console=Console(stderr=True)) as bar:
        line = bar.add_task("", total=100)
        yield lambda task: bar.update(line, completed=task.progress, description=words(task))


@contextmanager
def _notebook() -> Iterator[Show]:
    """One output of the cell, which is replaced: it needs no widget, and stays in the notebook."""
    display: Any = import_module("IPython.display").display
    last: TaskFull | None = None
    handle, at = None, 0.0

    def draw() -> None:
        nonlocal handle, at
        if last is None:
            return
        at = time.monotonic()
        if handle is None:
            handle = display(picture(last), raw=True, display_id=True)
        else:
            handle.update(picture(last), raw=True)

    def show(task: TaskFull) -> None:
        nonlocal last
        last = task
        if time.monotonic() - at >= EVERY:
            draw()

    try:
        yield show
    finally:
        draw()


def picture(task: TaskFull) -> dict[str, str]:
    """By MIME type."""
    text = words(task)
    bar = f'<progress max="100" value="{task.progress:.1f}" aria-label="progress"></progress>'
    return {
        "text/plain": f"{text}, {task.progress:.0f} %",
        "text/html": f"<div>{bar} {task.progress:.0f} % {escape(text)}</div>",
    }


def words(task: TaskFull) -> str:
    """Its name, state, latest metrics, and how long it took or will take at its present pace."""
    found = [f"{task.title or task.name} {task.id[:8]}: {task.status}"]
    for name in SHOWN:
        value = task.metrics.get(name)
        if value is not None:
            found.append(f"{name} {value:.4g}")
    if task.started_at is not None:
        spent = (task.ended_at or datetime.now(UTC)) - task.started_at
        if task.ended_at is not None:
            found.append(f"took {_whole(spent)}")
        elif task.status == "running" and task.progress >= 0.5 and _began_at_zero(task):
            found.append(f"{_whole(spent * (100 / task.progress - 1))} left")
    return ", ".join(found)


def _began_at_zero(task: TaskFull) -> bool:
    return task.attempt == 1 and task.from_checkpoint is None


def _whole(time: timedelta) -> timedelta:
    return timedelta(seconds=max(0, round(time.total_seconds())))


def _in_notebook() -> bool:
    module = sys.modules.get("IPython")
    return hasattr(module.get_ipython() if module else None, "kernel")
