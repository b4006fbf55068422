"""One client as a card."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from aifarm.cli.render import COLOURS, console, grid, status
from aifarm.cli.words import NONE, ago, duration, memory, sparkline
from aifarm.wire.agent import Environment, Gpu, Resources
from aifarm.wire.rest import ClientFull, ClientFullDetails, ClientHistory, PerformanceFull

WIDTH = 100

POINTS = 48
"""Of the last day, for the small curves."""


def show(client: ClientFullDetails, history: ClientHistory) -> None:
    """Prints the card."""
    out = console()
    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in _facts(client, history):
        rows.add_row(name, value)
    parts: list[RenderableType] = [rows]
    if client.resources and client.resources.gpu:
        parts += ["", _gpus(client.resources.gpu)]
    if client.tasks:
        columns = {
            "TASK": lambda task: task.id[:8],
            "STATUS": lambda task: status(task.status),
            "PROGRESS": lambda task: f"{task.progress:.0f} %",
        }
        parts += ["", grid(client.tasks, columns)]
    word = "drained" if client.drained else client.status
    out.print(
        Panel(
            Group(*parts),
            title=Text(f" {client.id} · {word} ", "bold"),
            title_align="left",
            border_style=COLOURS.get(word, ""),
            padding=(0, 1),
            width=min(out.width, WIDTH),
        )
    )


def percent(value: float | None) -> str:
    """Never a zero for what nobody measured."""
    return "n/a" if value is None else f"{value:.0f} %"


def gpu_use(gpu: Gpu) -> str:
    """`57 % 3.2/10.0 GiB`, as far as it is known."""
    used, total = gpu.memory.used, memory(gpu.memory.total)
    known = used or gpu.utilization is not None
    return f"{percent(gpu.utilization)}  {memory(used) if known else 'n/a'} of {total}"


def _facts(client: ClientFullDetails, history: ClientHistory) -> list[tuple[str, str]]:
    facts = [("host", " ".join(filter(None, (client.hostname, _labels(client)))) or NONE)]
    if client.drained:
        facts.append(("drained", client.drained))
    facts.append(
        ("last seen", "now" if client.status == "active" else f"{ago(client.last_seen)} ago")
    )
    facts.append(("agent", client.agent_version or "speaks the documented protocol only"))
    if client.environments:
        facts.append(("environments", "\n".join(map(_environment, client.environments))))
    if client.resources:
        facts += _use(client.resources, history)
    facts.append(("so far", _performance(client.performance)))
    return facts


def _use(resources: Resources, history: ClientHistory) -> list[tuple[str, str]]:
    cpu, ram = resources.cpu, resources.ram
    return [
        ("cores", f"{cpu.cores}, {percent(cpu.usage)} in use  {sparkline(history.cpu)}"),
        ("memory", f"{memory(ram.used)} of {memory(ram.total)}  {sparkline(history.ram)}"),
    ]


def _environment(one: Environment) -> str:
    return f"{one.name}: Python {one.python}, torch {one.torch}, CUDA {one.cuda or 'none'}"


def _labels(client: ClientFull) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(client.labels.items()))


def _performance(done: PerformanceFull) -> str:
    if not done.ended_attempts:
        return "no attempt has ended here yet"
    time = "" if done.average_time is None else f", {duration(done.average_time)} on average"
    rate = "" if done.success_rate is None else f", {100 * done.success_rate:.0f} % went well"
    return f"{done.completed_tasks} tasks completed{time}; {done.ended_attempts} attempts{rate}"


def _gpus(gpus: Sequence[Gpu]) -> Table:
    return grid(
        gpus,
        {
            "GPU": lambda gpu: str(gpu.id),
            "NAME": lambda gpu: gpu.name,
            "USE": gpu_use,
            "TEMPERATURE": lambda gpu: (
                "n/a" if gpu.temperature is None else f"{gpu.temperature:.0f} °C"
            ),
            "HELD BY": _holders,
        },
    )


def _holders(gpu: Gpu) -> str:
    if gpu.processes is None:
        return "n/a"
    held = (f"{one.user or 'somebody'}: {one.name or one.pid}" for one in gpu.processes)
    return ", ".join(held) or NONE
