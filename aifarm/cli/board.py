"""What `aifarm top` shows: the state of a farm, told by its live feed, and its picture."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from aifarm.cli.clientcard import gpu_use, percent
from aifarm.cli.render import grid, status
from aifarm.cli.words import NONE, duration, label, memory, metrics
from aifarm.sdk import AIFarmError, Farm
from aifarm.sdk.states import FINAL
from aifarm.wire import live
from aifarm.wire.rest import ClientFull, FarmMetrics, TaskFull

WAITING = ("pending",)

REASONS = 8
"""Waiting tasks, from the head of the queue, that are asked why."""

WIDE = 110
"""Columns from which on there is room for more than the most needed."""


class Board:
    """Fed by other threads (`hear`, `ask`), drawn by one (`picture`)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskFull] = {}
        self._clients: dict[str, ClientFull] = {}
        self._why: dict[str, str] = {}
        self._problem = ""
        self._pace = ""

    def hear(self, message: live.Message) -> None:
        """Takes in what the live feed says."""
        with self._lock:
            match message:
                case live.Snapshot(tasks=tasks, clients=clients):
                    self._tasks = {task.id: task for task in tasks if task.status not in FINAL}
                    self._clients = {client.id: client for client in clients}
                case live.TaskChanged(task=task) if task.status in FINAL:
                    self._tasks.pop(task.id, None)
                case live.TaskChanged(task=task):
                    self._tasks[task.id] = task
                case live.TaskDeleted(id=task_id):
                    self._tasks.pop(task_id, None)
                case live.ClientChanged(client=client):
                    self._clients[client.id] = client
                case live.ClientForgotten(id=client_id):
                    self._clients.pop(client_id, None)

    def ask(self, farm: Farm) -> None:
        """Asks for what the feed does not tell: present use, and why tasks wait."""
        try:
            clients = {client.id: client.info for client in farm.clients()}
            pace = _pace(farm.metrics())
            reasons = {
                task_id: farm.task(task_id).why().summary for task_id in self._heads(REASONS)
            }
        except AIFarmError as error:
            self._problem = error.message
            return
        with self._lock:
            self._clients, self._why, self._pace = clients, reasons, pace
            self._problem = ""

    def picture(self, width: int, height: int = 1000) -> RenderableType:
        """As large as the terminal: what does not fit is counted."""
        with self._lock:
            clients = sorted(self._clients.values(), key=lambda one: (one.status, one.id))
            tasks = sorted(self._tasks.values(), key=lambda one: one.created_at)
            going = [task for task in tasks if task.status not in WAITING]
            waiting = [task for task in tasks if task.status in WAITING]
            why = dict(self._why)
        room = max(3, (height - 9) // 3)
        parts: list[RenderableType] = [self._headline(clients, going, waiting)]
        parts += ["", *_cut(clients, room, lambda shown: _machines(shown, width), "client")]
        parts += ["", *_cut(going, room, lambda shown: _running(shown, width), "task")]
        if waiting:
            parts += ["", *_cut(waiting, room, lambda shown: _queue(shown, why), "waiting task")]
        return Group(*parts)

    def _heads(self, limit: int) -> list[str]:
        with self._lock:
            waiting = [task for task in self._tasks.values() if task.status in WAITING]
        return [task.id for task in sorted(waiting, key=lambda one: one.created_at)[:limit]]

    def _headline(
        self, clients: list[ClientFull], going: list[TaskFull], waiting: list[TaskFull]
    ) -> Text:
        active = [client for client in clients if client.status == "active"]
        gpus = [gpu for client in active if client.resources for gpu in client.resources.gpu]
        running = sum(task.status == "running" for task in going)
        words = (
            f"  {len(active)} of {len(clients)} clients  {len(gpus)} GPUs  "
            f"{running} running  {len(waiting)} waiting"
        )
        line = Text(self._url, "bold").append(words, "default")
        if self._pace:
            line.append(f"\n{self._pace}", "dim")
        if self._problem:
            line.append(f"\n{self._problem}", "bold red")
        return line


def _cut(
    rows: Sequence[Any], room: int, draw: Callable[[Sequence[Any]], RenderableType], what: str
) -> list[RenderableType]:
    """As many as there is room for, and how many more there are."""
    if not rows:
        return [Text(f"No {what}s.", "dim")]
    left = len(rows) - room
    more = [Text(f"and {left} more {what}{'s' * (left != 1)}", "dim")] if left > 0 else []
    return [draw(rows[:room]), *more]


def _machines(clients: Sequence[ClientFull], width: int) -> Table:
    columns: dict[str, Callable[[ClientFull], str | Text]] = {
        "CLIENT": lambda one: one.id,
        "STATUS": lambda one: status("drained" if one.drained else one.status),
        "CPU": _cpu,
        "MEMORY": _memory,
        "GPUS": _gpus,
        "TASKS": lambda one: ", ".join(task.id[:8] for task in one.tasks) or NONE,
    }
    if width < WIDE:
        del columns["CPU"]
    return grid(clients, columns)


def _running(tasks: Sequence[TaskFull], width: int) -> Table:
    columns: dict[str, Callable[[TaskFull], str | Text]] = {
        "ID": lambda task: task.id[:8],
        "TITLE": lambda task: task.title or label(task.name, task.version),
        "STATUS": lambda task: status(task.status),
        "PROGRESS": lambda task: f"{task.progress:.0f} %",
        "RATE": _rate,
        "LEFT": _left,
        "CLIENTS": lambda task: ", ".join(task.clients) or NONE,
        "SUBMITTER": lambda task: task.submitter,
        "METRICS": lambda task: metrics(task.metrics),
    }
    if width < WIDE:
        for spare in ("METRICS", "SUBMITTER", "RATE"):
            del columns[spare]
    return grid(tasks, columns)


def _queue(tasks: Sequence[TaskFull], why: Mapping[str, str]) -> Table:
    return grid(
        tasks,
        {
            "ID": lambda task: task.id[:8],
            "WAITING": lambda task: task.title or label(task.name, task.version),
            "SUBMITTER": lambda task: task.submitter,
            "FOR": lambda task: duration((datetime.now(UTC) - task.created_at).total_seconds()),
            "WHY": lambda task: why.get(task.id, NONE),
        },
    )


def _known(client: ClientFull) -> bool:
    """What an absent client used when it was last heard is not what it uses."""
    return client.status == "active"


def _cpu(client: ClientFull) -> str:
    use = client.resources if _known(client) else None
    return percent(use.cpu.usage if use else None)


def _memory(client: ClientFull) -> str:
    if client.resources is None:
        return "n/a"
    ram = client.resources.ram
    return f"{memory(ram.used) if _known(client) else 'n/a'} of {memory(ram.total)}"


def _gpus(client: ClientFull) -> str:
    gpus = client.resources.gpu if client.resources else ()
    if not _known(client):
        return f"{len(gpus)} n/a" if gpus else "n/a"
    return "\n".join(gpu_use(gpu) for gpu in gpus) or "none"


def _pace(metrics: FarmMetrics) -> str:
    ended = metrics.ended_last_hour
    tasks = f"{ended} task{'s' * (ended != 1)} ended in the last hour"
    return f"{tasks}  {metrics.points_per_second:.3g} metric points/s"


def _speed(task: TaskFull) -> float | None:
    """Percent a second since the attempt began; None where that says nothing yet."""
    if task.started_at is None or task.status != "running" or not task.progress:
        return None
    seconds = (datetime.now(UTC) - task.started_at).total_seconds()
    return task.progress / seconds if seconds > 0 else None


def _rate(task: TaskFull) -> str:
    speed = _speed(task)
    return "n/a" if speed is None else f"{60 * speed:.3g} %/min"


def _left(task: TaskFull) -> str:
    speed = _speed(task)
    return "n/a" if speed is None else duration((100 - task.progress) / speed)
