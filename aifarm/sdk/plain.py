"""A farm and a task as lines of text, where nothing else can be shown: IPython in a terminal."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from aifarm.sdk.errors import AIFarmError
from aifarm.wire import rest

if TYPE_CHECKING:
    from aifarm.sdk.farm import Farm
    from aifarm.sdk.task import Task

GOING = ("pending", "assigned", "running", "paused", "unreachable")
MOST = 10
"""Tasks that a farm is shown with."""


def shown(name: str, thing: Any) -> str:
    """`thing` as the text that stands for the view of this `name`; its `repr`, and why, where the
    farm does not answer."""
    try:
        return VIEWS[name](thing)
    except AIFarmError as error:
        return f"{thing!r}\n{error}"


def farm(farm: "Farm") -> str:
    """Its machines, and what runs and waits."""
    clients = [client.info for client in farm.clients()]
    tasks = [task.info for task in farm.tasks(status=GOING, limit=MOST)]
    return farm_lines(farm.url, clients, tasks)


def farm_lines(url: str, clients: Iterable[rest.ClientFull], tasks: Iterable[rest.TaskFull]) -> str:
    machines = [f"  {one.id}  {one.status}{_gpus(one)}" for one in clients]
    going = [f"  {_one_line(one)}" for one in tasks]
    return "\n".join(
        [
            f"Farm {url}",
            "Machines" if machines else "No machine yet.",
            *machines,
            "Tasks" if going else "No task runs or waits.",
            *going,
        ]
    )


def task(task: "Task") -> str:
    """Its state, its place, and the latest of each metric."""
    info = task.refresh()
    why = task.why().summary if info.status == "pending" else None
    return task_lines(info, why)


def task_lines(info: rest.TaskFull, why: str | None = None) -> str:
    """`why` it waits, where it does."""
    clients = ", ".join(dict.fromkeys(info.clients))
    facts = {
        "id": info.id,
        "package": f"{info.name} {info.version or ''}".strip(),
        "submitter": info.submitter,
        "on": clients,
        "attempt": str(info.attempt) if info.attempt > 1 else "",
        "tags": ", ".join(info.tags),
        "metrics": "  ".join(f"{name} {_number(value)}" for name, value in info.metrics.items()),
        "message": info.message or "",
        "waits": why or "",
    }
    head = f"Task {info.title or info.name}: {info.status}, {info.progress:.0f} %"
    return "\n".join([head, *(f"  {name:<9}  {text}" for name, text in facts.items() if text)])


VIEWS: dict[str, Callable[[Any], str]] = {"FarmView": farm, "TaskMonitor": task}


def _one_line(info: rest.TaskFull) -> str:
    name = info.title or info.name
    return f"{info.id[:8]}  {info.status:<11}  {info.progress:>3.0f} %  {name}  {info.submitter}"


def _gpus(client: rest.ClientFull) -> str:
    if client.resources is None:
        return ""
    counted = Counter(gpu.name for gpu in client.resources.gpu)
    return "".join(f"  {count} x {name}" for name, count in counted.items()) or "  no GPU"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"
